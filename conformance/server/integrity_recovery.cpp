// Suite "integrity": what a disk keeps when its server dies, or hands it over. The server is ublk-serve on a
// file, the load writes blocks that name their own version, and a block must hold the last version that was
// acknowledged, or one that was begun after it.
#include "conformance/driver/case.hpp"
#include "conformance/driver/driver.hpp"
#include "conformance/server/digest.hpp"
#include "conformance/server/process.hpp"
#include "conformance/server/suite.hpp"

#include <atomic>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <random>
#include <sys/stat.h>
#include <thread>

namespace conformance {

namespace {

using ublk::uapi::Feature;
using ublk::uapi::Features;

constexpr const char* recovered = "/tmp/recovered.img";
constexpr std::size_t block_bytes = 4096, blocks = 1024;

struct Block {
    std::uint64_t number, version;
    std::byte filling[block_bytes - 16];
};
static_assert(sizeof(Block) == block_bytes);

void stamp(Block& block, std::uint64_t number, std::uint64_t version)
{
    block.number = number;
    block.version = version;
    fill(std::span(block.filling), number << 32 | version);
}

// One thread that rewrites its own blocks, in random order, for as long as it is let.
class Writer {
  public:
    Writer(std::string disk, std::uint64_t first, std::uint64_t step)
        : disk_(std::move(disk)), first_(first), step_(step), acknowledged_(blocks), begun_(blocks),
          thread_([this] { run(); })
    {
    }
    ~Writer() { end(); }
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    void end()
    {
        over_ = true;
        if (thread_.joinable())
            thread_.join();
    }
    std::uint64_t written() const { return written_; }
    std::uint64_t errors() const { return errors_; }
    // After end(): each block as the disk has it now.
    void check(int fd) const
    {
        Block found{}, wanted{};
        for (std::uint64_t number = first_; number < blocks; number += step_) {
            if (begun_[number] == 0)
                continue;
            expect_eq(static_cast<long>(block_bytes),
                      sys(::pread(fd, &found, block_bytes, static_cast<off_t>(number * block_bytes))),
                      "bytes read");
            if (found.version < acknowledged_[number] || found.version > begun_[number])
                fail(fmt::format("block {} with a version from {} to {}", number, acknowledged_[number],
                                 begun_[number]),
                     fmt::format("version {}, number {}", found.version, found.number));
            if (found.version == 0)
                continue;
            stamp(wanted, number, found.version);
            expect_true(std::memcmp(&found, &wanted, block_bytes) == 0,
                        fmt::format("block {} is whole", number));
        }
    }

  private:
    void run()
    {
        const std::unique_ptr<Block, decltype(&std::free)> block(
            static_cast<Block*>(std::aligned_alloc(block_bytes, block_bytes)), &std::free);
        std::mt19937_64 random(first_);
        const auto fd = ublk::wire::open_node(disk_, O_RDWR | O_DIRECT);
        while (fd && !over_) {
            const std::uint64_t number = first_ + random() % (blocks / step_) * step_;
            stamp(*block, number, ++begun_[number]);
            if (::pwrite(fd->get(), block.get(), block_bytes, static_cast<off_t>(number * block_bytes)) ==
                static_cast<ssize_t>(block_bytes)) {
                acknowledged_[number] = begun_[number];
                ++written_;
            } else {
                ++errors_;
            }
        }
    }

    std::string disk_;
    std::uint64_t first_, step_;
    std::vector<std::uint64_t> acknowledged_, begun_; // versions
    std::atomic<std::uint64_t> written_ = 0, errors_ = 0;
    std::atomic<bool> over_ = false;
    std::thread thread_;
};

struct Recovered {
    const char* mode; // --recovery
    std::vector<std::string> options;
    int cycles;
};

std::vector<std::string> with_file(const std::vector<std::string>& options)
{
    std::vector<std::string> arguments{"--type", "file", "--file", recovered};
    arguments.insert(arguments.end(), options.begin(), options.end());
    return arguments;
}

void make_backing()
{
    std::ofstream(recovered, std::ios::binary).close();
    expect_ok(sys(::truncate(recovered, static_cast<off_t>(blocks * block_bytes))), "truncate");
}

// `end_server` ends the server while the load runs; how many of its requests may fail is the caller's.
template <typename EndServer>
std::uint64_t errors_of_cycles(const Recovered& how, EndServer end_server)
{
    make_backing();
    auto add = with_file(how.options);
    add.insert(add.end(), {"--recovery", how.mode, "--depth", "16"});
    Serving server(add);
    constexpr std::uint64_t threads = 4;
    std::uint64_t errors = 0;
    std::vector<std::unique_ptr<Writer>> writers;
    for (std::uint64_t i = 0; i < threads; ++i)
        writers.push_back(std::make_unique<Writer>(server.disk(), i, threads));
    const auto sum = [&](auto counter) {
        std::uint64_t all = 0;
        for (const auto& writer : writers)
            all += ((*writer).*counter)();
        return all;
    };
    const auto more_is_written = [&] {
        const auto before = sum(&Writer::written);
        return eventually([&] { return sum(&Writer::written) > before + 20; }, 20s);
    };
    for (int cycle = 0; cycle < how.cycles; ++cycle) {
        expect_true(more_is_written(), fmt::format("the load runs before cycle {}", cycle));
        const auto failed = sum(&Writer::errors);
        expect_true(more_is_written(), fmt::format("the load runs on before cycle {}", cycle));
        expect_eq(failed, sum(&Writer::errors), "requests that failed, while there is a server");
        end_server(server);
        server.recover(with_file({}));
    }
    for (auto& writer : writers)
        writer->end();
    const auto fd = ublk::wire::open_node(server.disk(), O_RDONLY | O_DIRECT);
    expect_true(fd.has_value(), "the disk opens");
    for (auto& writer : writers) {
        writer->check(fd->get());
        errors += writer->errors();
    }
    return errors;
}

constexpr int cycles = 12;

} // namespace

CASE("INTEGRITY-RECOVER-001", contract,
     "no acknowledged write is lost and none fails over kill -9 and recovery that issues requests again",
     integrity_suite, timeout(120s), needs(Feature::user_recovery | Feature::user_recovery_reissue))
{
    const auto errors = errors_of_cycles({"reissue", {}, cycles}, [](Serving& server) { server.kill(); });
    expect_eq(0UL, errors, "requests that failed");
}

CASE("INTEGRITY-RECOVER-002", contract,
     "no acknowledged write is lost over kill -9 and recovery, where requests of the dead server may fail",
     integrity_suite, timeout(120s), needs(Feature::user_recovery))
{
    errors_of_cycles({"wait", {}, cycles}, [](Serving& server) { server.kill(); });
}

CASE("INTEGRITY-RECOVER-003", contract,
     "no acknowledged write is lost over kill -9 and recovery, where requests fail until there is a server",
     integrity_suite, timeout(120s), needs(Feature::user_recovery_fail_io))
{
    errors_of_cycles({"fail-io", {}, cycles}, [](Serving& server) { server.kill(); });
}

CASE("INTEGRITY-RECOVER-004", contract, "a live upgrade by QUIESCE_DEV fails no request and loses no write",
     integrity_suite, timeout(120s), needs(Feature::user_recovery | Feature::quiesce))
{
    const auto errors = errors_of_cycles({"wait", {}, cycles}, [](Serving& server) { server.quiesce(); });
    expect_eq(0UL, errors, "requests that failed");
}

CASE("INTEGRITY-RECOVER-005", contract, "the same with zero copy, where operations are in flight",
     integrity_suite, timeout(120s), needs(Feature::user_recovery | Feature::quiesce | Feature::auto_buf_reg))
{
    const auto errors = errors_of_cycles({"wait", {"--data-path", "auto-buf"}, cycles},
                                         [](Serving& server) { server.quiesce(); });
    expect_eq(0UL, errors, "requests that failed");
}

CASE("INTEGRITY-RECOVER-006", contract, "no acknowledged write is lost over kill -9 of a server of batches",
     integrity_suite, timeout(120s), needs(Feature::user_recovery_reissue | Feature::batch_io))
{
    const auto errors =
        errors_of_cycles({"reissue", {"--batch"}, cycles}, [](Serving& server) { server.kill(); });
    expect_eq(0UL, errors, "requests that failed");
}

// Linux 7.3.4 fails what comes between QUIESCE_DEV and the close of ublkcN on such a device.
CASE("INTEGRITY-RECOVER-007", contract,
     "a live upgrade of a server of batches loses no acknowledged write, and fails none while there is a "
     "server",
     integrity_suite, timeout(120s), needs(Feature::user_recovery | Feature::quiesce | Feature::batch_io))
{
    errors_of_cycles({"wait", {"--batch"}, cycles}, [](Serving& server) { server.quiesce(); });
}

} // namespace conformance
