// Suite "integrity": a file that is in memory is served from its own pages where it has them, and from holes
// as any other file.
#include "conformance/driver/case.hpp"
#include "conformance/server/served_disk.hpp"
#include "conformance/server/suite.hpp"

#include <algorithm>
#include <filesystem>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

namespace conformance {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t mib = 1 << 20;
constexpr const char* data_paths[] = {"copy", "get-data", "user-copy"};

std::vector<std::string> file_with(const std::string& file, const char* data_path)
{
    return {"--type", "file", "--file", file, "--data-path", data_path};
}

void make_sparse(const std::string& file, std::uint64_t bytes)
{
    const Fd made(::open(file.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600));
    expect_ok(sys(::ftruncate(made.get(), static_cast<off_t>(bytes))), "making " + file);
}

std::uint64_t bytes_taken(const std::string& file)
{
    struct stat status{};
    expect_ok(sys(::stat(file.c_str(), &status)), "stat of " + file);
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

void discard(const ServedDisk& disk, std::uint64_t offset, std::uint64_t bytes)
{
    std::uint64_t range[] = {offset, bytes};
    expect_ok(sys(::ioctl(disk.fd(), BLKDISCARD, range)), "BLKDISCARD");
}

// The whole disk, piece by piece; it must be `wanted`.
void expect_content(const ServedDisk& disk, std::span<const std::byte> wanted, std::string_view when)
{
    const Buffer piece(128 * 1024);
    for (std::size_t at = 0; at < wanted.size(); at += piece.span().size()) {
        expect_eq(std::ssize(piece.span()), disk.read(at / 512, piece.span()), "bytes read");
        expect_true(std::ranges::equal(piece.span(), wanted.subspan(at, piece.span().size())),
                    fmt::format("the bytes at {} are right, {}", at, when));
    }
}

} // namespace

CASE("INTEGRITY-PLACE-001", contract,
     "a sparse file in memory gets pages by writes alone, and gives them back when they are discarded",
     integrity_suite)
{
    const std::string file = "/tmp/sparse.img";
    for (const char* data_path : data_paths) {
        make_sparse(file, 8 * mib);
        ServedDisk disk(file_with(file, data_path));
        std::vector<std::byte> content(8 * mib);
        expect_content(disk, content, "nothing was written");
        expect_eq(std::uint64_t{0}, bytes_taken(file), fmt::format("bytes that holes take, {}", data_path));
        for (const std::uint64_t seed : {1U, 2U}) { // into holes, and into pages
            const Buffer data(mib);
            fill(data.span(), seed);
            expect_eq(std::ssize(data.span()), disk.write(2 * mib / 512, data.span()), "bytes written");
            std::ranges::copy(data.span(), content.begin() + 2 * mib);
            expect_content(disk, content, "after a write");
            expect_eq(mib, bytes_taken(file), fmt::format("bytes that the file takes, {}", data_path));
        }
        discard(disk, 2 * mib + mib / 2, mib / 2);
        std::fill_n(content.begin() + 2 * mib + mib / 2, mib / 2, std::byte{0});
        expect_content(disk, content, "after a discard");
        expect_eq(mib / 2, bytes_taken(file), fmt::format("bytes taken after a discard, {}", data_path));
        disk.stop();
        expect_true(md5_of(file, false) == md5_of(std::span<const std::byte>(content)),
                    fmt::format("the file holds what the disk held, {}", data_path));
    }
}

CASE("INTEGRITY-PLACE-002", contract,
     "with no memory left a write to a hole fails with ENOSPC, and what is there can be read and written",
     integrity_suite)
{
    const std::string directory = "/tmp/small", file = directory + "/disk.img";
    fs::create_directories(directory);
    expect_ok(sys(::mount("tmpfs", directory.c_str(), "tmpfs", 0, "size=1m")), "a tmpfs of 1 MiB");
    for (const char* data_path : data_paths) {
        make_sparse(file, 4 * mib);
        ServedDisk disk(file_with(file, data_path));
        const Buffer data(64 * 1024), seen(64 * 1024);
        fill(data.span(), 1);
        const std::size_t sectors = data.span().size() / 512;
        std::uint64_t at = 0;
        long res = 0;
        while ((res = disk.write(at, data.span())) == std::ssize(data.span()) && at < 4 * mib / 512)
            at += sectors;
        expect_error(ENOSPC, res, fmt::format("a write when all is taken, {}", data_path));
        expect_true(at >= 8 * sectors, fmt::format("half of it could be written: {} sectors", at));
        fill(data.span(), 2);
        expect_eq(std::ssize(data.span()), disk.write(0, data.span()), "bytes written over others");
        expect_eq(std::ssize(seen.span()), disk.read(0, seen.span()), "bytes read");
        expect_true(std::ranges::equal(seen.span(), data.span()), "they are those that were written");
        discard(disk, 0, data.span().size());
        expect_eq(std::ssize(data.span()), disk.write(at, data.span()),
                  fmt::format("bytes written where there was no room before, {}", data_path));
        disk.stop();
    }
    expect_ok(sys(::umount(directory.c_str())), "umount");
}

} // namespace conformance
