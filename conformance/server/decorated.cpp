// Suite "integrity": what `ublk-serve add --with` puts in the way of requests is what an application meets,
// no more and no less.
#include "conformance/driver/case.hpp"
#include "conformance/server/served_disk.hpp"
#include "conformance/server/suite.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sys/wait.h>

namespace conformance {

namespace {

std::vector<std::string> memory_with(std::string decorator, std::vector<std::string> more = {})
{
    std::vector<std::string> arguments{"--type", "memory", "--size", "16M", "--with", std::move(decorator)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

struct Answered {
    std::string op;
    std::uint64_t sector = 0, sectors = 0;
    long result = 0;
    bool operator==(const Answered&) const = default;
};

// What a recording tells of requests that were answered. The file may just be being written: a line that is
// not whole is left out.
std::vector<Answered> recorded(const char* path)
{
    std::vector<Answered> all;
    std::ifstream file(path);
    for (std::string text; std::getline(file, text);) {
        const auto line = nlohmann::json::parse(text, nullptr, false);
        if (!line.is_discarded() && line.contains("result"))
            all.push_back({line.value("op", ""), line.value("sector", std::uint64_t{0}),
                           line.value("sectors", std::uint64_t{0}), line.value("result", 0L)});
    }
    return all;
}

// All of the device in pieces of `bytes`, written and read back by MD5.
void image_survives(const ServedDisk& disk, std::size_t bytes)
{
    constexpr std::size_t size = 16 << 20;
    const Buffer image(size), piece(bytes);
    fill(image.span(), 3);
    for (std::size_t at = 0; at < size; at += bytes)
        expect_eq(static_cast<long>(bytes), disk.write(at / 512, image.span().subspan(at, bytes)),
                  "bytes written");
    for (std::size_t at = 0; at < size; at += bytes) {
        expect_eq(static_cast<long>(bytes), disk.read(at / 512, piece.span()), "bytes read");
        expect_true(std::ranges::equal(piece.span(), image.span().subspan(at, bytes)),
                    fmt::format("the {} bytes at {} are those that were written", bytes, at));
    }
    expect_eq(md5_of(std::span<const std::byte>(image.span())), md5_of(disk.path(), true),
              "MD5 of the device");
}

void reads_come_short(const char* path)
{
    ServedDisk disk(memory_with("short:rate=0.7,seed=7", {"--data-path", path, "--queues", "2", "--with",
                                                          "record:file=/tmp/short.jsonl,last=16384"}));
    image_survives(disk, 128 * 1024);
    disk.stop();
    // The recorder is behind: what it saw begin in the middle of what was asked for is a rest.
    const auto rests = std::ranges::count_if(recorded("/tmp/short.jsonl"), [](const Answered& request) {
        return request.op == "READ" && request.sector % 256 != 0;
    });
    expect_true(rests > 50, fmt::format("the driver asked for rests: {}", rests));
}

} // namespace

CASE("INTEGRITY-FAULT-001", contract, "a fault on a range of sectors fails exactly these sectors, with EIO",
     integrity_suite)
{
    ServedDisk disk(memory_with("fault:sectors=2048-2051"));
    const Buffer data(512);
    for (std::uint64_t sector = 2040; sector < 2060; ++sector) {
        const bool bad = sector >= 2048 && sector <= 2051;
        fill(data.span(), sector);
        expect_eq(bad ? long{-EIO} : 512L, disk.write(sector, data.span()),
                  fmt::format("writing sector {}", sector));
        expect_eq(bad ? long{-EIO} : 512L, disk.read(sector, data.span()),
                  fmt::format("reading sector {}", sector));
    }
    disk.stop();
}

CASE("INTEGRITY-FAULT-002", contract,
     "a fault by count fails each n-th write with its errno, leaves the old data, and no read is touched",
     integrity_suite)
{
    ServedDisk disk(memory_with("fault:op=write,errno=ENOSPC,every=3"));
    const Buffer data(4096), got(4096);
    for (std::uint64_t i = 1; i <= 12; ++i) {
        fill(data.span(), i);
        expect_eq(i % 3 == 0 ? long{-ENOSPC} : 4096L, disk.write(i * 8, data.span()),
                  fmt::format("write {}", i));
        expect_eq(4096L, disk.read(i * 8, got.span()), "bytes read");
        if (i % 3 == 0)
            std::ranges::fill(data.span(), std::byte{0});
        expect_true(std::ranges::equal(data.span(), got.span()),
                    fmt::format("what is there after write {}", i));
    }
    disk.stop();
}

CASE("INTEGRITY-SHORT-001", contract, "short reads lose nothing: the driver asks for the rest, by copy",
     integrity_suite, timeout(120s))
{
    reads_come_short("copy");
}

CASE("INTEGRITY-SHORT-002", contract,
     "short reads lose nothing: the driver asks for the rest, by NEED_GET_DATA", integrity_suite,
     timeout(120s))
{
    reads_come_short("get-data");
}

CASE("INTEGRITY-SHORT-003", contract,
     "a short read by USER_COPY, and a short write, are errors and never wrong data", integrity_suite)
{
    ServedDisk disk(memory_with("short:op=read+write,sectors=2048-4095", {"--data-path", "user-copy"}));
    const Buffer data(4096);
    fill(data.span(), 1);
    expect_eq(4096L, disk.write(0, data.span()), "bytes written where nothing is cut");
    expect_eq(512L, disk.write(2048, data.first(512)), "bytes of one sector, which has no part");
    expect_error(EIO, disk.write(2048, data.span()), "a write that is cut");
    expect_error(EIO, disk.read(2048, data.span()), "a read that is cut");
    disk.stop();
}

CASE("INTEGRITY-CRASH-001", contract,
     "a server that dies at its n-th write leaves a device that ublk-serve delete removes", integrity_suite,
     timeout(60s))
{
    ServedDisk disk(memory_with("crash:op=write,at=5"));
    const Buffer data(4096);
    for (std::uint64_t i = 1; i <= 4; ++i)
        expect_eq(4096L, disk.write(i * 8, data.span()), fmt::format("write {}", i));
    expect_error(EIO, disk.write(40, data.span()), "write 5");
    disk.close();
    int status = 0;
    expect_eq(disk.pid(), ::waitpid(disk.pid(), &status, 0), "the server that ended");
    expect_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "it was killed");
    expect_true(::access("/dev/ublkc7", F_OK) == 0, "the device is left");
    must_run({"ublk-serve", "delete", "7"});
    expect_true(::access("/dev/ublkc7", F_OK) != 0 && ::access("/dev/ublkb7", F_OK) != 0,
                "both nodes are gone");
}

CASE("INTEGRITY-DELAY-001", contract, "a delayed request takes at least its time", integrity_suite)
{
    using Clock = std::chrono::steady_clock;
    ServedDisk disk(memory_with("delay:op=write,sectors=2048-2048,time=300ms"));
    const Buffer data(4096);
    const auto begin = Clock::now();
    expect_eq(4096L, disk.write(2048, data.span()), "bytes written");
    expect_true(Clock::now() - begin >= 300ms, "it took 300 ms or more");
    disk.stop();
}

CASE("INTEGRITY-RECORD-001", contract,
     "a recording tells what was asked and answered, at SIGUSR1 and at the end", integrity_suite)
{
    constexpr const char* file = "/tmp/requests.jsonl";
    ServedDisk disk(
        memory_with(fmt::format("record:file={},last=64", file), {"--with", "fault:sectors=4096-4096"}));
    const Buffer data(8192);
    const Answered write{"WRITE", 2048, 16, 8192}, bad{"READ", 4096, 8, -EIO}, last{"READ", 2048, 8, 4096};
    const auto times = [&](const Answered& answered) { return std::ranges::count(recorded(file), answered); };
    expect_eq(8192L, disk.write(2048, data.span()), "bytes written");
    expect_error(EIO, disk.read(4096, data.first(4096)), "the bad sector");
    expect_true(recorded(file).empty(), "nothing is written before it is asked for");
    ::kill(disk.pid(), SIGUSR1);
    expect_true(eventually([&] { return times(write) == 1; }), "the write is told");
    expect_eq(1L, times(bad), "lines of the failed read");
    expect_eq(4096L, disk.read(2048, data.first(4096)), "bytes read");
    disk.stop();
    expect_eq(1L, times(last), "lines of the last read");
    expect_eq(1L, times(write), "lines of the write");
}

} // namespace conformance
