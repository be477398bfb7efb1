// A server in a case's own hands: it fetches, looks and commits only when told to, from the calling thread.
// Well-formed by default, but every command can be sent wrong.
#pragma once

#include "conformance/driver/driver.hpp"

#include <atomic>
#include <cstddef>
#include <functional>
#include <future>
#include <vector>

namespace conformance {

// One system call of an application, made in a thread of its own so that the case can serve it meanwhile.
class App {
  public:
    explicit App(std::function<long()> call); // call returns like sys(): >= 0 or -errno
    // A call that never returns keeps its (detached) thread; destroying the App waits for nothing.
    App(App&&) = default;
    bool done() const;
    long result() const { return future_.get(); } // waits for ever; serve_until() first

    // O_DIRECT read or write of whole sectors through a buffer of the App's own.
    static App read(const Device& device, std::uint64_t sector, std::size_t bytes);
    static App write(const Device& device, std::uint64_t sector, std::size_t bytes, std::byte fill);

  private:
    std::shared_future<long> future_;
};

class Server {
  public:
    struct Options {
        bool map = true; // map the descriptor areas of all queues
        ublk::wire::RingOptions ring{.entries = 256, .sqe128 = false};
        bool copy_buffers = true; // give each tag a buffer; off for USER_COPY and zero copy (addr must be 0)
    };
    // Opens ublkcN (waiting out a release that is under way) and maps; failing that fails the case.
    explicit Server(const Device& device) : Server(device, Options{}) {}
    Server(const Device& device, const Options& options, Where where = Where::current());

    int fd() const { return node_.get(); }
    ublk::wire::Ring& ring() { return *ring_; }
    const Device& device() const { return device_; }
    std::byte* buffer(unsigned q, unsigned tag); // of max_io_buf_bytes, page aligned; nullptr without
    std::uint64_t buffer_addr(unsigned q, unsigned tag)
    {
        return reinterpret_cast<std::uintptr_t>(buffer(q, tag));
    }
    IoDesc desc(unsigned q, unsigned tag) const { return maps_.at(q).read(tag); }

    // ---- raw: any opcode, any content ----
    AutoBufReg auto_buf; // goes into sqe->addr of each command from here on (AUTO_BUF_REG)
    std::uint64_t send(std::uint32_t op, const IoCmd& cmd); // submitted; returns a token
    std::uint64_t send(IoNr nr, const IoCmd& cmd) { return send(ublk::uapi::opcode(nr), cmd); }
    std::optional<long> wait(std::uint64_t token, Millis limit);
    // Sends what must be answered at once (a wrong command); one that stays out fails the case.
    long io(std::uint32_t op, const IoCmd& cmd, Where where = Where::current());
    long io(IoNr nr, const IoCmd& cmd, Where where = Where::current())
    {
        return io(ublk::uapi::opcode(nr), cmd, where);
    }
    // Sends what must be accepted and stay with the driver: not answered within `settle`.
    std::uint64_t expect_accepted(IoNr nr, const IoCmd& cmd, std::string_view what,
                                  Where where = Where::current());
    IoCmd cmd(unsigned q, unsigned tag, std::int32_t result = 0); // with the tag's own buffer

    // ---- well-formed ----
    void fetch(unsigned q, unsigned tag);
    void fetch_all();
    void commit(unsigned q, unsigned tag, std::int32_t result);
    struct Request {
        unsigned q = 0, tag = 0;
        long res = 0; // CQE: 0 a request, 1 NEED_GET_DATA, negative: the tag was aborted
        IoDesc desc;
    };
    // Next completion of fetch() or commit(), aborted ones included. nullopt: none in time.
    std::optional<Request> next(Millis limit);
    // Next request; one that does not come fails the case. Aborts met on the way are counted in aborted().
    Request expect_request(std::string_view what, Where where = Where::current());
    unsigned aborted() const { return aborted_; } // tags that came back with -ENODEV

    // What serve*() answer with; default: serves from memory() as a sound server would. nullopt: hold the
    // request (it stays owned; commit it by hand later).
    using Handler = std::function<std::optional<std::int32_t>(const Request&)>;
    Handler handler;
    std::vector<Request> seen; // every request that serve*() met, in order
    std::int32_t serve_from_memory(const Request& request);
    std::vector<std::byte>& memory() { return memory_; }

    // Serves until `holds`; false if it does not hold within `limit`.
    bool serve_until(const std::function<bool()>& holds, Millis limit = patience);
    long serve_until(Pending& command, Where where = Where::current()); // its result; must complete
    long serve_until(App& app, Where where = Where::current());         // its result; must complete
    void serve_for(Millis time);

    // basic_params() if none were set before, FETCH everything, START_DEV, serve what START asks for, and the
    // partition scan where the kernel cannot suppress it. Must work.
    void go_live(Where where = Where::current());
    void go_live(const Params& params, Where where = Where::current());

    // Closes ring and node, as a server that ends does. Mappings stay. The object is then only good to
    // destroy.
    void close();
    void close_node() { node_.reset(); } // alone; commands that are out and mappings keep the file

  private:
    std::optional<Request> find_completed();
    void start_and_serve(Where where);
    void serve_partition_scan();

    Device device_;
    Fd node_;
    std::optional<ublk::wire::Ring> ring_;
    std::vector<ublk::wire::DescriptorMap> maps_;
    struct Unmap {
        std::size_t bytes;
        void operator()(std::byte* p) const;
    };
    std::unique_ptr<std::byte, Unmap> buffers_;
    std::vector<std::byte> memory_;
    std::vector<std::uint64_t> tag_token_; // [q * depth + tag]: token of the command that is out; 0 none
    std::map<std::uint64_t, long> finished_;
    std::uint64_t last_token_ = 0;
    unsigned aborted_ = 0;
};

} // namespace conformance
