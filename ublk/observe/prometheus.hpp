// Metrics for Prometheus: in its text format, and on a port of this machine.
#pragma once

#include "ublk/observe/metrics.hpp"

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace ublk::observe {

using SnapshotSource = std::function<std::vector<Snapshot>()>;

// Counters by device, queue and operation, and a histogram of latencies in seconds where they were measured.
std::string to_prometheus(const std::vector<Snapshot>& devices);

// "127.0.0.1:9100" or "[::1]:9100", with any port from 0 (a free one) to 65535: where to listen. Error: why
// the text is no such address, or is one that other machines reach.
std::expected<std::string, std::string> loopback_address(const std::string& text);

// Serves http://ADDRESS/metrics on threads of its own until it goes.
class Endpoint {
  public:
    // `address` as loopback_address() gave it; `source` is called for each scrape. Error: why it cannot
    // listen.
    static std::expected<Endpoint, std::string> open(const std::string& address, SnapshotSource source);
    Endpoint(Endpoint&& other) noexcept;
    Endpoint& operator=(Endpoint&& other) noexcept;
    ~Endpoint();

    std::uint16_t port() const;

  private:
    struct Parts;
    explicit Endpoint(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

} // namespace ublk::observe
