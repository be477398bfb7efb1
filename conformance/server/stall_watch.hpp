// Ends a server that leaves a request without an answer: a process that waits in the kernel for one cannot be
// killed otherwise, and could not say what it waits for.
#pragma once

#include "conformance/driver/driver.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <sys/types.h>

namespace conformance {

class StallWatch {
  public:
    static constexpr std::chrono::seconds usual =
        20s; // for a request, on a machine that is emulated and busy

    StallWatch(); // forks; to be made before there are threads
    ~StallWatch();
    StallWatch(const StallWatch&) = delete;
    StallWatch& operator=(const StallWatch&) = delete;

    pid_t pid() const { return pid_; }
    // The processes to end; 0: none.
    void guard(std::initializer_list<pid_t> server);
    void enable(bool on) { shared_->enabled = on; }

    // A request is under way in the calling process; all processes forked since share the slots.
    int begin(const char* what, std::uint64_t offset, std::uint64_t bytes, std::chrono::seconds limit);
    void end(int slot);
    // The request that was not answered, as a sentence.
    std::optional<std::string> stalled() const;

  private:
    struct Slot {
        std::atomic<std::int64_t> since_ms = 0; // 0: free
        std::uint64_t offset = 0, bytes = 0;
        std::chrono::seconds limit{};
        char what[24] = {};
    };
    struct Shared {
        std::atomic<bool> enabled = true;
        std::atomic<int> stalled = -1;
        std::array<std::atomic<pid_t>, 4> server{};
        std::array<Slot, 64> slots;
    };
    [[noreturn]] void watch() const;

    Shared* shared_;
    pid_t pid_ = -1;
};

} // namespace conformance
