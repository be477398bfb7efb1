// Verbs of the cases about BATCH_IO: commands for many tags at once, and the command that brings the tags of
// requests into buffers that its ring provides.
#pragma once

#include "conformance/driver/data_verbs.hpp"
#include "ublk/uapi/codec.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace conformance {

inline constexpr auto batch_io = Feature::batch_io;

using ublk::uapi::BatchEntry;
using ublk::uapi::BatchFlag;
using ublk::uapi::BatchFlags;
using ublk::uapi::BatchIo;
using Tags = std::vector<std::uint16_t>;

// A server of a batch device. Sends PREP and COMMIT through its own ring, on which nothing stays out; another
// ring may be named for each. What FETCH brings is a TagFetch's.
class BatchServer {
  public:
    explicit BatchServer(const Device& device, Where where = Where::current());

    Server base;      // node, mapped descriptors, buffers where payload is copied, the disk's content
    BatchFlags flags; // of what is well-formed: HAS_BUF_ADDR where payload is copied

    // With the tag's own buffer, and the slot (AUTO_BUF_REG) of its number.
    BatchEntry entry(unsigned q, unsigned tag, std::int32_t result = 0);
    std::vector<BatchEntry> entries(unsigned q, const Tags& tags, std::int32_t result = 0);
    Tags all_tags() const;
    unsigned elem_bytes() const { return ublk::uapi::batch_elem_bytes(flags); }
    BatchIo head(unsigned q, std::size_t elements) const;

    // Any content; `elements` is what sqe->addr says.
    long command(IoNr nr, const BatchIo& head, const void* elements, Where where = Where::current());
    long command(ublk::wire::Ring& through, IoNr nr, const BatchIo& head, const void* elements) const;
    long prep_entries(unsigned q, const std::vector<BatchEntry>& entries, Where where = Where::current());
    long prep(unsigned q, const Tags& tags, Where where = Where::current())
    {
        return prep_entries(q, entries(q, tags), where);
    }
    long commit_entries(unsigned q, const std::vector<BatchEntry>& entries, Where where = Where::current());
    long commit(unsigned q, const Tags& tags, std::int32_t result, Where where = Where::current())
    {
        return commit_entries(q, entries(q, tags, result), where);
    }

    void prep_all(Where where = Where::current());
    void go_live(const Params& params = basic_params(), Where where = Where::current());
    Server::Request request(unsigned q, unsigned tag) const;

  private:
    long send_entries(IoNr nr, unsigned q, const std::vector<BatchEntry>& entries, Where where);
};

// Buffers that a ring provides under a group's number; each goes back when it is told to.
class TagBuffers {
  public:
    struct Options {
        std::uint16_t group = 0;
        unsigned count = 8;      // a power of two
        unsigned bytes = 64;     // of one buffer
        bool writable = true;    // by anyone
        unsigned provided = ~0U; // how many at first, of `count`
    };
    TagBuffers(ublk::wire::Ring& ring, const Options& options, Where where = Where::current());
    ~TagBuffers();
    TagBuffers(const TagBuffers&) = delete;
    TagBuffers& operator=(const TagBuffers&) = delete;

    std::uint16_t group() const { return options_.group; }
    void provide(unsigned id);
    Tags tags(unsigned id, long bytes) const;
    void make_writable();

  private:
    std::byte* buffer(unsigned id) const { return memory_ + std::size_t{id} * options_.bytes; }
    Options options_;
    std::byte* memory_ = nullptr;
    io_uring_buf_ring* buffers_ = nullptr;
};

// FETCH_IO_CMDS of one queue, on a ring of its own.
class TagFetch {
  public:
    // `ring_flags`: IORING_SETUP_* beside the usual.
    explicit TagFetch(const Server& server, unsigned q = 0, const TagBuffers::Options& options = {},
                      unsigned cq_entries = 1024, unsigned ring_flags = 0);

    ublk::wire::Ring& ring() { return ring_; }
    TagBuffers& buffers() { return *buffers_; }

    // What may be wrong in one.
    struct Command {
        std::uint32_t op = ublk::uapi::opcode(IoNr::fetch_io_cmds);
        BatchIo head;
        bool multishot = true;
        bool selects_buffer = true;
        std::uint16_t group = 0;
    };
    Command well_formed() const;
    void send() { send(well_formed()); }
    void send(const Command& command);

    struct Arrival {
        long res = 0;
        bool more = false; // the command goes on
        std::optional<unsigned> buffer;
        Tags tags;
    };
    // Next completion. Its buffer goes back to the ring unless told otherwise.
    std::optional<Arrival> next(Millis limit, bool give_back = true);
    Arrival expect_arrival(std::string_view what, Where where = Where::current());
    // The result that ends the command.
    long expect_end(std::string_view what, Where where = Where::current());
    void expect_nothing(std::string_view what, Where where = Where::current());
    // As many tags as that, of one arrival or more.
    Tags expect_tags(std::size_t count, Where where = Where::current());

  private:
    int char_fd_;
    unsigned q_;
    ublk::wire::Ring ring_;
    std::unique_ptr<TagBuffers> buffers_;
};

// Device, server and fetching of queue 0, live.
struct BatchLive {
    Device device;
    BatchServer server;
    TagFetch fetch;

    explicit BatchLive(Driver& driver, AddOptions options = {}, const Params& params = basic_params(),
                       Where where = Where::current());
    // Waits for the one request that `app` makes.
    unsigned hold(const App& app, Where where = Where::current());
    // Serves from memory until the application is done; its result.
    long serve_until(App& app, Where where = Where::current());
};

} // namespace conformance
