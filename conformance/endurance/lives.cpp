// Suite "endurance": devices made, started, used, stopped and deleted, over and over, by the library in one
// process and by the commands of ublk-serve, without anything left behind.
#include "conformance/driver/driver.hpp"
#include "conformance/endurance/cases.hpp"
#include "conformance/endurance/leak_watch.hpp"
#include "conformance/server/digest.hpp"
#include "conformance/server/process.hpp"
#include "ublk/backends/memory.hpp"
#include "ublk/engine/device.hpp"
#include "ublk/engine/parameters.hpp"

#include <array>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <vector>

namespace conformance::endurance {

namespace {

namespace fs = std::filesystem;
namespace engine = ublk::engine;

constexpr std::size_t disk_bytes = 1 << 20, block_bytes = 4096;

// Writes a block that no life before has written, and reads it back.
void use(int fd, std::uint64_t seed)
{
    const std::unique_ptr<void, decltype(&std::free)> memory(std::aligned_alloc(block_bytes, 2 * block_bytes),
                                                             &std::free);
    const std::span both(static_cast<std::byte*>(memory.get()), 2 * block_bytes);
    const auto wrote = both.first(block_bytes), read = both.last(block_bytes);
    const auto offset = static_cast<off_t>(seed % (disk_bytes / block_bytes) * block_bytes);
    fill(wrote, seed);
    expect_eq(static_cast<long>(block_bytes), sys(::pwrite(fd, wrote.data(), block_bytes, offset)),
              "bytes written");
    expect_eq(static_cast<long>(block_bytes), sys(::pread(fd, read.data(), block_bytes, offset)),
              "bytes read");
    expect_true(std::memcmp(wrote.data(), read.data(), block_bytes) == 0, "the block is what was written");
}

template <typename T>
T must(ublk::Result<T> result, Where where = Where::current())
{
    if (!result)
        fail("the device goes through its life", result.error().message(), where);
    if constexpr (!std::is_void_v<T>)
        return std::move(*result);
}

void live(const engine::DeviceOptions& options, std::uint64_t seed)
{
    auto backend = must(ublk::backends::Memory::create(disk_bytes, 512));
    auto control = must(engine::Control::open());
    auto created = must(engine::Created::add(control, options));
    const auto params = engine::make_params(backend.geometry(), created.info().max_io_buf_bytes);
    auto configured = must(std::move(created).set_parameters(params));
    auto running = must(std::move(configured).start(backend));
    {
        const auto disk =
            must(engine::open_when_there(ublk::wire::block_path(running.info().dev_id), O_RDWR | O_DIRECT));
        use(disk.get(), seed);
    }
    auto stopped = must(std::move(running).stop());
    must(std::move(stopped).remove());
}

// Every way of serving that the memory backend and this kernel know.
std::vector<engine::DeviceOptions> ways_to_live()
{
    using engine::DataPath;
    std::vector<engine::DeviceOptions> ways;
    for (const auto path : {DataPath::copy, DataPath::get_data, DataPath::user_copy}) {
        ways.push_back({.queues = 2, .depth = 16, .serving = {.data_path = path}});
        ways.push_back({.depth = 16, .serving = {.data_path = path, .batch = path != DataPath::get_data}});
    }
    ways.push_back({.depth = 16, .serving = {.threads_per_queue = 2}});
    ways.push_back({.depth = 16, .recovery = engine::Recovery::reissue});
    const auto offered = kernel_features();
    std::erase_if(ways, [&](const auto& way) { return !needed_features(way).without(offered).empty(); });
    return ways;
}

// Rounds of all ways until everything was used once: caches and lists grow up to a limit of their own.
unsigned warm_up_rounds(std::size_t ways)
{
    constexpr std::size_t warm_up = 50; // lives
    return static_cast<unsigned>((warm_up + ways - 1) / ways);
}

void record_growth(const LeakWatch& watch, const std::string& load)
{
    for (const char* name : {"bytes of heap", "bytes resident", "bytes of the kernel's Slab",
                             "bytes of the kernel's Percpu", "bytes of kernel pages of no kind"})
        record_figure(load, fmt::format("growth in {}", name), watch.grown(name));
}

// ---- processes ----

constexpr const char* made = "/tmp/endurance-life.json";

// What runs, and the files where servers leave theirs.
std::vector<std::string> surroundings()
{
    std::vector<std::string> found;
    std::error_code ec;
    for (const char* directory : {"/tmp", "/run", "/dev", "/dev/shm"})
        for (const auto& entry : fs::directory_iterator(directory, ec))
            found.push_back(entry.path());
    for (const auto& entry : fs::directory_iterator("/proc", ec)) {
        const auto program = fs::read_symlink(entry.path() / "exe", ec);
        if (!ec)
            found.push_back(fmt::format("{} runs", program.string()));
    }
    std::ranges::sort(found);
    return found;
}

void live_as_process(std::uint64_t seed)
{
    must_run({"ublk-serve", "add", "--daemon", "--id", "7", "--type", "memory", "--size",
              fmt::format("{}", disk_bytes), "--json", made});
    {
        const auto disk = ublk::wire::open_node("/dev/ublkb7", O_RDWR | O_DIRECT);
        expect_true(disk.has_value(), "the disk opens");
        use(disk->get(), seed);
    }
    must_run({"ublk-serve", "stop", "7"});
    int raw = 0;
    // The daemon is ours now that who started it has ended.
    expect_true(eventually([&] { return ::waitpid(-1, &raw, WNOHANG) > 0; }), "the daemon ends");
    expect_true(WIFEXITED(raw) && WEXITSTATUS(raw) == 0, fmt::format("the daemon ends with 0: {}", raw));
    must_run({"ublk-serve", "delete", "7"});
    ::unlink(made);
}

} // namespace

CASE("ENDURANCE-LIFE-001", contract,
     "a thousand devices made, started, used, stopped and deleted by one process leave nothing behind",
     endurance_suite, long_limit)
{
    const auto plan = read_plan();
    const auto ways = ways_to_live();
    std::uint64_t seed = plan.seed;
    const auto live_round = [&] {
        for (const auto& way : ways)
            live(way, ++seed);
    };
    for (unsigned round = 0; round < warm_up_rounds(ways.size()); ++round)
        live_round();
    LeakWatch watch(LeakWatch::Scope::process_and_kernel);
    unsigned lives = 0;
    for (; lives < plan.lives(); lives += static_cast<unsigned>(ways.size()))
        live_round();
    watch.check(lives);
    expect_no_devices();
    record_growth(watch, fmt::format("{} lives, {} ways to serve", lives, ways.size()));
}

CASE("ENDURANCE-LIFE-002", contract,
     "hundreds of devices added as daemons, used, stopped and deleted leave no process, device, file or "
     "memory",
     endurance_suite, long_limit)
{
    const auto plan = read_plan();
    expect_ok(sys(::prctl(PR_SET_CHILD_SUBREAPER, 1)), "to be the parent of daemons");
    constexpr unsigned warm_up = 10;
    std::uint64_t seed = plan.seed;
    for (unsigned i = 0; i < warm_up; ++i)
        live_as_process(++seed);
    const auto before = surroundings();
    LeakWatch watch(LeakWatch::Scope::process_and_kernel);
    for (unsigned i = 0; i < plan.process_lives(); ++i)
        live_as_process(++seed);
    watch.check(plan.process_lives());
    expect_error(ECHILD, sys(::waitpid(-1, nullptr, WNOHANG)), "a child that is left");
    expect_eq(fmt::format("{}", fmt::join(before, " ")), fmt::format("{}", fmt::join(surroundings(), " ")),
              "processes and files");
    expect_no_devices();
    record_growth(watch, fmt::format("{} lives as processes", plan.process_lives()));
}

} // namespace conformance::endurance
