// Suite "server": its end, asked for and sudden, and what becomes of the device and of who uses it.
#include "conformance/server/load.hpp"
#include "conformance/server/suite.hpp"

#include <csignal>
#include <fcntl.h>

namespace conformance {

namespace {

constexpr unsigned loaders = 4;

// A server with a load on it.
struct Loaded {
    Subject subject;
    Ledger ledger;
    Load load;

    explicit Loaded(bool reading_back = false)
        : subject((not_read_only(), Where::current())), ledger(subject, 8ULL << 20),
          load(subject, (needs_writable(subject), ledger), loaders, reading_back)
    {
    }
    static void not_read_only()
    {
        if (profile().read_only)
            skip("the device is to be read-only (--read-only)");
    }
    void let_run(std::uint64_t requests)
    {
        const auto from = load.done();
        if (!eventually([&] { return load.done() >= from + requests || load.running() < loaders; }, 30s))
            subject.fail("requests are answered",
                         fmt::format("{} of {} in 30 s", load.done() - from, requests));
    }
    bool recoverable() const { return subject.features().has(Feature::user_recovery); }
};

} // namespace

CASE("SERVER-LIFE-001", contract, "the server brings up its device, and takes it away when it is told to end",
     server_suite)
{
    Subject subject;
    const Buffer buffer(std::max<std::size_t>(subject.block(), 4096));
    DiskIo(subject, Path::direct, O_RDONLY).read(0, buffer.span());
    subject.finish();
}

CASE("SERVER-LIFE-002", contract, "told to end under load, the server ends in its time and leaves nothing",
     server_suite)
{
    Loaded it;
    it.let_run(200);
    it.subject.tell_to_end();
    it.load.expect_errors();
    it.subject.expect_ended();
}

CASE("SERVER-LIFE-003", contract,
     "when the server is killed under load, applications get errors and the device can be deleted",
     server_suite)
{
    Loaded it;
    it.let_run(200);
    it.subject.signal(SIGKILL);
    // A device that can be recovered keeps requests for the next server; its deletion ends them.
    if (it.recoverable())
        it.subject.kill();
    it.load.expect_errors();
    if (!it.recoverable())
        it.subject.kill();
    it.subject.start_again();
    it.subject.finish();
}

CASE("SERVER-LIFE-004", contract,
     "while the server is stopped requests wait, and when it goes on they are answered right", server_suite)
{
    needs_data();
    Loaded it(true);
    it.let_run(100);
    for (int round = 0; round < 3; ++round) {
        it.subject.watch_stalls(false);
        it.subject.signal(SIGSTOP);
        ::usleep(700'000); // long enough that all writers wait
        const auto before = it.load.done();
        ::usleep(300'000);
        expect_eq(before, it.load.done(), "requests answered while the server was stopped");
        it.subject.signal(SIGCONT);
        it.let_run(100);
        it.subject.watch_stalls(true);
    }
    it.load.stop();
    it.ledger.check_all(DiskIo(it.subject));
    it.subject.finish();
}

CASE("SERVER-LIFE-005", contract,
     "when the device is deleted under load, the deletion ends and so does the server", server_suite)
{
    Loaded it;
    it.let_run(200);
    auto& control = it.subject.control();
    auto deletion = control.begin(CtrlNr::del_dev, {.dev_id = it.subject.id()});
    it.load.expect_errors();
    if (const auto res = deletion.wait(patience); !res)
        fail("DEL_DEV ends", fmt::format("it is still out after {} s", patience.count() / 1000));
    else
        expect_ok(*res, "DEL_DEV");
    // What the server makes of it is its own affair, but it must not die of it or stay.
    std::optional<std::string> end;
    if (!eventually([&] { return (end = it.subject.ended()).has_value(); },
                    std::chrono::seconds(profile().end_seconds)))
        fail("the server ends when its device was deleted", "it is still there");
    if (end->contains("died"))
        fail("the server ends by itself when its device was deleted", *end);
    count_check();
}

CASE("SERVER-LIFE-006", contract, "the server can be started again after its end, three times over",
     server_suite)
{
    Subject subject;
    const Buffer buffer(std::max<std::size_t>(subject.block(), 4096));
    for (int i = 0; i < 3; ++i) {
        DiskIo(subject, Path::direct, O_RDONLY).read(0, buffer.span());
        subject.finish();
        subject.start_again();
    }
    subject.finish();
}

} // namespace conformance
