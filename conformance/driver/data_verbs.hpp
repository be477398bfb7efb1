// Verbs of the cases about a request's data: what an application writes, how a server without buffers gets at
// it (file positions of ublkcN, registered buffers), and zoned devices, which need that to start.
#pragma once

#include "conformance/driver/live.hpp"
#include "ublk/uapi/io.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace conformance {

using Bytes = std::vector<std::byte>;

// Bytes that tell their place; those of another seed differ at every place.
Bytes pattern(std::size_t bytes, unsigned seed = 0);
bool all_are(std::span<const std::byte> data, std::byte value);

// ---- applications ----

// A direct write, by a thread that keeps to `cpu` if one is given.
App write_data(const Device& device, Bytes data, std::uint64_t sector = 0, std::optional<unsigned> cpu = {});
// A direct read, and a write with RWF_* flags, of the first 4096 bytes.
long read_block(int fd);
long write_block(int fd, int flags = 0);
// A call for each operation of a plain device that takes discards and zeroing, and a synchronous write.
struct OpCall {
    std::string_view what;
    IoOp op; // of the request that it makes first
    std::function<long(int)> call;
};
std::vector<OpCall> each_op();
// Has `call` made on the disk, with O_DIRECT, and serves it; what reached the server meanwhile.
std::vector<Server::Request> requests_of(Live& live, const std::function<long(int)>& call,
                                         Where where = Where::current());
// Waits for the request that `app` makes.
Live::Held hold(Server& server, App app, Where where = Where::current());

// Parameters that let these reach the server, and the calls: a request without data each.
Params no_data_params();
struct NoDataCall {
    std::string_view what;
    std::function<long(int)> call; // with the open disk
};
std::vector<NoDataCall> no_data_calls(); // a flush, a discard, zeroing

// ---- copies by file position (USER_COPY); results as sys() ----

long copy_out(const Server& server, const Server::Request& request, std::span<std::byte> to,
              std::uint64_t offset = 0);
long copy_in(const Server& server, const Server::Request& request, std::span<const std::byte> from,
             std::uint64_t offset = 0);
// Serves from the server's memory by such copies.
std::optional<std::int32_t> serve_by_copy(Server& server, const Server::Request& request);

// ---- registered buffers ----

// A file in memory: where fixed reads and writes get data from and bring it to.
class MemoryFile {
  public:
    explicit MemoryFile(const Bytes& content = {});
    int fd() const { return file_.get(); }
    Bytes content() const;

  private:
    Fd file_;
};

// Bytes of a registered buffer; in the file they begin where they begin in the buffer.
struct Fixed {
    unsigned slot = 0;
    std::uint64_t offset = 0;
    std::size_t bytes = 4096;
};
// Sends READ_FIXED (file to buffer) or WRITE_FIXED (buffer to file); a token for Server::wait().
std::uint64_t send_read_fixed(Server& server, int file, const Fixed& part);
std::uint64_t send_write_fixed(Server& server, int file, const Fixed& part);
// ... and waits for the result.
long read_fixed(Server& server, int file, const Fixed& part = {}, Where where = Where::current());
long write_fixed(Server& server, int file, const Fixed& part = {}, Where where = Where::current());
// The same through any ring on which nothing else is out.
long write_fixed(ublk::wire::Ring& ring, int file, const Fixed& part = {});
// Neither direction finds a buffer there.
void expect_empty_slot(Server& server, unsigned slot, std::string_view when, Where where = Where::current());

long register_buffer(Server& server, const Server::Request& request, unsigned slot = 0,
                     Where where = Where::current());
long unregister_buffer(Server& server, unsigned slot = 0, Where where = Where::current());
// The same command through any ring on which nothing else is out.
long io_through(ublk::wire::Ring& ring, const Server& server, IoNr nr, const IoCmd& cmd);
IoCmd register_cmd(const Server::Request& request, unsigned slot);

// Puts memory of ours into a slot of the ring's table, in place of what is there; none: empties the slot.
// 0 or -errno.
long set_slot(ublk::wire::Ring& ring, unsigned slot, std::span<std::byte> memory = {});

// ---- zoned devices ----

inline constexpr std::uint64_t zone_sectors = 1024;
Params zoned_params(); // eight sequential zones
// Answers REPORT_ZONES of a USER_COPY device with empty zones of `sectors`.
std::int32_t report_zones(const Server& server, const Server::Request& request,
                          std::uint64_t sectors = zone_sectors);
// Has `server` of a USER_COPY device answer zone reports so, and call everything else done.
void serve_zones(Server& server, std::uint64_t sectors = zone_sectors);
// A zoned USER_COPY device and its server, live.
struct ZonedLive {
    Device device;
    Server server;

    explicit ZonedLive(Driver& driver, Features more = {}, const Params& params = zoned_params(),
                       Where where = Where::current());
    App reset_zone() const; // BLKRESETZONE of the first zone
};

} // namespace conformance
