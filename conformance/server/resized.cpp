// Suite "integrity": disks that are given another size while they are served.
#include "conformance/driver/case.hpp"
#include "conformance/server/process.hpp"
#include "conformance/server/served_disk.hpp"
#include "conformance/server/suite.hpp"

#include <algorithm>
#include <linux/fs.h>
#include <sys/ioctl.h>

namespace conformance {

namespace {

using ublk::uapi::Feature;

constexpr std::uint64_t mib = 1 << 20;

void resize(const char* size)
{
    must_run({"ublk-serve", "resize", "7", size});
}

std::uint64_t size_of(const ServedDisk& disk)
{
    std::uint64_t bytes = 0;
    expect_ok(sys(::ioctl(disk.fd(), BLKGETSIZE64, &bytes)), "BLKGETSIZE64");
    return bytes;
}

void expect_kept(const ServedDisk& disk, std::uint64_t offset, std::uint64_t seed, std::string_view what)
{
    const Buffer data(64 * 1024), seen(64 * 1024);
    fill(data.span(), seed);
    expect_eq(std::ssize(data.span()), disk.write(offset / 512, data.span()),
              fmt::format("bytes written {}", what));
    expect_eq(std::ssize(seen.span()), disk.read(offset / 512, seen.span()),
              fmt::format("bytes read {}", what));
    expect_true(std::ranges::equal(data.span(), seen.span()),
                fmt::format("they are those that were written {}", what));
}

} // namespace

CASE("INTEGRITY-RESIZE-001", contract,
     "a disk on a file that grew is given its size while it is served, and keeps data in the new part",
     integrity_suite, needs(Feature::update_size))
{
    const std::string file = "/tmp/growing.img";
    for (const char* data_path : {"copy", "get-data", "user-copy"}) {
        const Fd made(::open(file.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600));
        const auto grow = [&](std::uint64_t bytes) {
            expect_ok(sys(::ftruncate(made.get(), static_cast<off_t>(bytes))), "the size of the file");
        };
        grow(4 * mib);
        ServedDisk disk({"--type", "file", "--file", file, "--data-path", data_path, "--paranoid"});
        expect_kept(disk, 4 * mib - 64 * 1024, 1, "at the old end");
        grow(8 * mib);
        resize("8M");
        expect_eq(8 * mib, size_of(disk), "bytes of the larger disk");
        expect_kept(disk, 8 * mib - 64 * 1024, 2, fmt::format("at the new end, {}", data_path));
        resize("2M");
        expect_eq(2 * mib, size_of(disk), "bytes of the smaller disk");
        expect_kept(disk, 2 * mib - 64 * 1024, 3, fmt::format("at the end of the smaller, {}", data_path));
        disk.stop();
    }
}

CASE("INTEGRITY-RESIZE-002", contract,
     "a disk in memory becomes smaller, and grows no larger than it was made; null takes any size",
     integrity_suite, needs(Feature::update_size))
{
    {
        ServedDisk disk({"--type", "memory", "--size", "4M", "--paranoid"});
        resize("1M");
        expect_kept(disk, mib - 64 * 1024, 1, "at the end of the smaller");
        resize("4M");
        expect_kept(disk, 4 * mib - 64 * 1024, 2, "at the end that it was made with");
        const auto refused = run_program({"ublk-serve", "resize", "7", "5M"});
        expect_eq(1, refused.status, "exit status of a size that it does not have");
        expect_true(refused.output.contains("give 4 MiB or less"),
                    "the message says what it can have: " + refused.output);
        expect_eq(4 * mib, size_of(disk), "bytes of the disk, as before");
        disk.stop();
    }
    ServedDisk disk({"--type", "null", "--size", "4M", "--paranoid"});
    resize("1G");
    const Buffer data(64 * 1024);
    expect_eq(std::ssize(data.span()), disk.read((1024 * mib - 64 * 1024) / 512, data.span()),
              "bytes read at the new end");
    disk.stop();
}

} // namespace conformance
