// The harness judged: cases that misbehave. Hidden; `ublkcheck run --suite selftest` runs them, and
// selftest_verdicts.hpp says what each must be given.
#include "conformance/driver/case.hpp"
#include "conformance/driver/child.hpp"
#include "conformance/driver/server.hpp"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sys/ptrace.h>
#include <sys/wait.h>

namespace conformance {

namespace {

const auto selftest = in_suite("selftest", true);

void flood(int fd, std::size_t bytes)
{
    std::string block;
    while (block.size() < 60'000)
        block += "this line is one of very many, and none of them matters to anybody\n";
    for (std::size_t done = 0; done < bytes; done += block.size()) [[maybe_unused]]
        const auto wrote = ::write(fd, block.data(), block.size());
}

// The file descriptor that the record goes to: the only pipe besides stdout and stderr.
int record_fd()
{
    for (int fd = 3; fd < 64; ++fd) {
        if (::fcntl(fd, F_GETFL) >= 0 && (::fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
            return fd;
    }
    return -1;
}

} // namespace

CASE("SELF-001", contract, "a case that exits 1 in silence has failed", selftest)
{
    ::_exit(1);
}

CASE("SELF-002", contract, "a case that prints PASS and exits 1 has failed", selftest)
{
    std::puts("PASS");
    std::puts("ok 1 - everything is fine");
    std::fflush(nullptr);
    ::_exit(1);
}

CASE("SELF-003", contract, "a case that exits 0 without a record has failed", selftest)
{
    ::_exit(0);
}

CASE("SELF-004", contract, "a case that passes while the kernel warns has failed", selftest, since(6, 15))
{
    // A real warning of stock kernels: zoned devices skip the check of the DMA alignment at SET_PARAMS, and
    // the block layer complains at START_DEV.
    Driver driver;
    auto device = driver.make({.flags = Feature::zoned | Feature::user_copy});
    auto params = basic_params();
    params.types |= (ParamType::zoned | ParamType::dma_align).raw();
    params.basic.chunk_sectors = 2048;
    params.zoned.max_zone_append_sectors = 128;
    params.dma.alignment = 8191;
    expect_ok(device.set_params(params), "SET_PARAMS");
    Server server(device, {.copy_buffers = false});
    server.fetch_all();
    auto start = device.begin_start();
    expect_true(server.serve_until(start) < 0, "START_DEV refuses what the block layer refuses");
}

CASE("SELF-005", contract, "a case that hangs in user space is a hang", selftest, timeout(3s))
{
    for (volatile bool forever = true; forever;)
        ::usleep(1000);
}

CASE("SELF-006", contract, "a case that hangs in the kernel is a hang, and where it sleeps is told", selftest,
     timeout(4s))
{
    // A server in a session of its own, which never answers; the reader sleeps uninterruptibly.
    Driver driver;
    auto device = driver.make();
    Server server(device);
    server.go_live();
    App::read(device, 0, 4096).result();
}

CASE("SELF-007", contract, "a case that panics the kernel is a crash", selftest)
{
    std::ofstream("/proc/sysrq-trigger") << "c";
    ::sleep(10);
}

CASE("SELF-008", contract, "a case that kills init is a crash", selftest)
{
    // Signals do not kill init; an instruction that it cannot execute does.
    expect_ok(sys(::ptrace(PTRACE_ATTACH, 1, nullptr, nullptr)), "ptrace attach to init");
    ::waitpid(1, nullptr, 0);
    const int fd = ::open("/proc/1/mem", O_RDWR);
    std::ifstream maps("/proc/1/maps");
    for (std::string line; std::getline(maps, line);) {
        unsigned long begin = 0, end = 0;
        char access[5] = {};
        if (std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, access) != 3 || access[2] != 'x' ||
            line.contains("[v"))
            continue;
        const std::string trap(end - begin, '\xcc');
        [[maybe_unused]] const auto wrote = ::pwrite(fd, trap.data(), trap.size(), static_cast<off_t>(begin));
    }
    ::ptrace(PTRACE_DETACH, 1, nullptr, nullptr);
    ::sleep(10);
}

CASE("SELF-009", contract, "a case that prints 50 MB and passes has passed, and its log stays bounded",
     selftest, timeout(60s))
{
    flood(STDOUT_FILENO, 50'000'000);
    expect_true(true, "the case itself is content");
}

CASE("SELF-010", contract, "a case that prints 50 MB and fails keeps a bounded log", selftest, timeout(60s))
{
    flood(STDERR_FILENO, 50'000'000);
    expect_true(false, "the case is discontent");
}

CASE("SELF-011", contract, "a case that writes half a record has failed", selftest)
{
    const std::string half = R"({"kind":0,"expected":"","obs)";
    [[maybe_unused]] const auto wrote = ::write(record_fd(), half.data(), half.size());
    ::_exit(0);
}

CASE("SELF-012", contract, "a case that uses up the memory is a crash, and the machine lives on", selftest,
     timeout(60s))
{
    for (;;) {
        auto* block = new char[16 << 20];
        for (std::size_t i = 0; i < (16U << 20); i += 4096)
            static_cast<volatile char*>(block)[i] = 1;
    }
}

CASE("SELF-013", contract, "a case that checks nothing has failed", selftest) {}

CASE("SELF-014", contract, "a case whose process dies of a signal is a crash", selftest)
{
    ::raise(SIGABRT);
}

CASE("SELF-015", contract, "a case that passes while a process of its own segfaults has failed", selftest)
{
    const pid_t child = ::fork();
    if (child == 0) {
        volatile auto* nowhere = reinterpret_cast<volatile int*>(sysconf(_SC_PAGESIZE) / 2); // never mapped
        *nowhere = 1;
        ::_exit(0);
    }
    ::waitpid(child, nullptr, 0);
    expect_true(true, "the case itself is content");
}

CASE("SELF-016", behaviour, "a behaviour that differs is changed, not failed", selftest)
{
    expect_eq(1, 2, "the answer");
}

CASE("SELF-017", contract, "a case that does not apply is skipped with a reason", selftest)
{
    skip("needs a feature that nobody has");
}

CASE("SELF-018", contract, "a case that leaves a daemon behind does not harm the next", selftest)
{
    if (::fork() == 0) {
        ::setsid();
        if (::fork() != 0)
            ::_exit(0);
        for (;;)
            ::usleep(100'000);
    }
    expect_true(true, "the case itself is content");
}

CASE("SELF-019", contract, "after every misbehaving case a plain one still passes", selftest)
{
    Driver driver;
    auto device = driver.make();
    Server server(device);
    server.go_live();
    auto app = App::read(device, 8, 4096);
    expect_eq(4096, server.serve_until(app), "bytes read");
}

namespace {

reports::Measurement a_measurement(int round)
{
    return {
        .subject = "nothing", .load = "round " + std::to_string(round), .metric = "IOPS", .values = {1.5, 2}};
}

} // namespace

CASE("SELF-030", contract, "a case that measures and passes leaves its measurements", selftest)
{
    for (int round = 0; round < 2000; ++round)
        record_measurement(a_measurement(round));
    expect_true(true, "the case itself is content");
}

CASE("SELF-031", contract, "a case that leaves more measurements than a record holds has failed", selftest)
{
    for (int round = 0; round < 20'000; ++round)
        record_measurement(a_measurement(round));
    expect_true(true, "the case itself is content");
}

} // namespace conformance
