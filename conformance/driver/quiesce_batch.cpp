// UBLK-QUIESCE of devices with BATCH_IO.
#include "conformance/driver/case.hpp"
#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/recovery_verbs.hpp"

#include <cstring>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

constexpr auto batch_quiesce = Feature::batch_io | Feature::quiesce;

// A server of one queue without buffers: one FETCH_IO_CMDS, elements of eight bytes.
class BatchServer {
  public:
    explicit BatchServer(const Device& device) : server_(device, {.copy_buffers = false})
    {
        io_uring_buf_reg registration{};
        registration.ring_addr = entries_.addr();
        registration.ring_entries = buffers;
        if (const int res = io_uring_register_buf_ring(&server_.ring().raw(), &registration, 0); res < 0)
            fail("a ring of buffers", result_text(res));
        for (std::uint16_t id = 0; id < buffers; ++id)
            provide(id);
    }

    long prepare_all()
    {
        const auto depth = server_.device().depth();
        for (unsigned tag = 0; tag < depth; ++tag)
            elements_.at<uapi::BatchElem>(tag *
                                          sizeof(uapi::BatchElem)) = {.tag = static_cast<std::uint16_t>(tag)};
        return elements(IoNr::prep_io_cmds, depth);
    }
    void fetch()
    {
        const uapi::BatchIo command{.elem_bytes = sizeof(std::uint16_t)};
        auto* sqe = server_.ring().sqe();
        ublk::wire::prep_batch(*sqe, server_.fd(), uapi::opcode(IoNr::fetch_io_cmds), command, 0, of_fetch);
        sqe->rw_flags = 1U << 1; // IORING_URING_CMD_MULTISHOT
        sqe->flags |= IOSQE_BUFFER_SELECT;
        submit();
    }
    // The result that the fetch ended with; nullopt: it has not.
    std::optional<long> fetch_end(Millis limit)
    {
        take_until([&] { return end_.has_value(); }, limit);
        return end_;
    }
    // The next tag that comes with a request.
    std::optional<std::uint16_t> next(Millis limit)
    {
        take_until([&] { return !tags_.empty(); }, limit);
        if (tags_.empty())
            return std::nullopt;
        const auto tag = tags_.front();
        tags_.erase(tags_.begin());
        return tag;
    }
    long commit(std::uint16_t tag, std::int32_t result)
    {
        elements_.at<uapi::BatchElem>() = {.tag = tag, .result = result};
        return elements(IoNr::commit_io_cmds, 1);
    }
    // Ends every request well until the call returns; its result.
    long serve_until(const App& app)
    {
        eventually([&] {
            while (const auto tag = next(0ms))
                commit(*tag, static_cast<std::int32_t>(server_.desc(0, *tag).nr_sectors * uapi::sector_size));
            return app.done();
        });
        return result_soon(app, "the application's call");
    }

  private:
    static constexpr unsigned buffers = 8, buffer_bytes = 256;
    static constexpr std::uint64_t of_fetch = 1, of_elements = 2;

    void provide(std::uint16_t id)
    {
        auto* ring = &entries_.at<io_uring_buf_ring>();
        io_uring_buf_ring_add(ring, &numbers_.at<char>(id * buffer_bytes), buffer_bytes, id, buffers - 1, 0);
        io_uring_buf_ring_advance(ring, 1);
    }
    void submit()
    {
        if (const int res = server_.ring().submit(); res < 0)
            fail("io_uring_enter takes the command", result_text(res));
    }
    long elements(IoNr nr, unsigned count)
    {
        const uapi::BatchIo command{.nr_elem = static_cast<std::uint16_t>(count),
                                    .elem_bytes = sizeof(uapi::BatchElem)};
        answer_.reset();
        ublk::wire::prep_batch(*server_.ring().sqe(), server_.fd(), uapi::opcode(nr), command,
                               elements_.addr(), of_elements);
        submit();
        take_until([&] { return answer_.has_value(); }, patience);
        return answer_.value_or(-ETIME);
    }
    void take_until(const std::function<bool()>& holds, Millis limit)
    {
        eventually(
            [&] {
                while (const auto done = server_.ring().poll())
                    take(*done);
                return holds();
            },
            limit);
    }
    void take(const ublk::wire::Completion& done)
    {
        if (done.user_data == of_elements) {
            answer_ = done.res;
            return;
        }
        if ((done.flags & IORING_CQE_F_BUFFER) != 0) {
            const auto id = static_cast<std::uint16_t>(done.flags >> IORING_CQE_BUFFER_SHIFT);
            for (int at = 0; at < done.res; at += 2)
                tags_.push_back(numbers_.at<std::uint16_t>(id * buffer_bytes + at));
            provide(id);
        }
        if ((done.flags & IORING_CQE_F_MORE) == 0)
            end_ = done.res;
    }

    Pages entries_, numbers_, elements_;
    Server server_;
    std::optional<long> answer_, end_;
    std::vector<std::uint16_t> tags_;
};

Device make_batch(Driver& driver)
{
    const Device device =
        driver.make({.queue_depth = 2, .flags = batch_quiesce | Feature::user_copy | Feature::user_recovery});
    expect_ok(device.set_params(basic_params()), "SET_PARAMS");
    return device;
}

void go_live(BatchServer& server, const Device& device)
{
    expect_ok(server.prepare_all(), "PREP_IO_CMDS of all tags");
    server.fetch();
    expect_ok(device.start(), "START_DEV");
}

void recover_batch(const Device& device, std::optional<BatchServer>& server)
{
    server.reset();
    expect_state(device, DevState::quiesced, "without a server");
    start_recovery(device);
    server.emplace(device);
    expect_ok(server->prepare_all(), "PREP_IO_CMDS of all tags");
    server->fetch();
    expect_ok(device.control(CtrlNr::end_user_recovery, static_cast<std::uint64_t>(::getpid())),
              "END_USER_RECOVERY");
}

} // namespace

CASE("UBLK-QUIESCE-011", contract,
     "With BATCH_IO QUIESCE_DEV waits for no tag: it ends FETCH_IO_CMDS with ENODEV, whatever is out",
     needs(batch_quiesce))
{
    Driver driver;
    const auto device = make_batch(driver);
    BatchServer server(device);
    go_live(server, device);
    std::vector<App> reads;
    std::vector<std::uint16_t> tags;
    for (unsigned i = 0; i < 2; ++i) {
        reads.push_back(App::read(device, 8 * i, 4096));
        const auto tag = server.next(patience);
        expect_true(tag.has_value(), "a read comes");
        tags.push_back(*tag);
    }
    expect_true(!server.fetch_end(settle), "FETCH_IO_CMDS stays out");
    expect_ok(device.control(CtrlNr::quiesce_dev, 60'000), "QUIESCE_DEV while every tag is out");
    expect_error(ENODEV, server.fetch_end(patience).value_or(0), "FETCH_IO_CMDS");
    for (const auto tag : tags)
        expect_eq(8, server.commit(tag, 4096), "bytes of a COMMIT_IO_CMDS that are taken");
    for (const auto& read : reads)
        expect_eq(4096, result_soon(read, "a read that was out"), "its bytes");
}

CASE("UBLK-QUIESCE-012", contract, "With BATCH_IO the next server recovers the device after QUIESCE_DEV",
     needs(batch_quiesce))
{
    Driver driver;
    const auto device = make_batch(driver);
    std::optional<BatchServer> server(std::in_place, device);
    go_live(*server, device);
    for (unsigned round = 0; round < 3; ++round) {
        expect_ok(device.control(CtrlNr::quiesce_dev), "QUIESCE_DEV");
        expect_error(ENODEV, server->fetch_end(patience).value_or(0), "FETCH_IO_CMDS");
        recover_batch(device, server);
        expect_true(!server->fetch_end(settle), "the next server's FETCH_IO_CMDS stays out");
        const auto read = App::read(device, 0, 4096);
        expect_eq(4096, server->serve_until(read), "bytes read");
    }
}

CASE("UBLK-QUIESCE-014", contract, "With BATCH_IO, too, I/O after QUIESCE_DEV waits for the recovery",
     needs(batch_quiesce))
{
    Driver driver;
    const auto device = make_batch(driver);
    std::optional<BatchServer> server(std::in_place, device);
    go_live(*server, device);
    expect_ok(device.control(CtrlNr::quiesce_dev), "QUIESCE_DEV");
    const auto read = App::read(device, 0, 4096);
    expect_waits(read, "a read after QUIESCE_DEV");
    recover_batch(device, server);
    expect_eq(4096, server->serve_until(read), "its bytes after the recovery");
}

} // namespace conformance
