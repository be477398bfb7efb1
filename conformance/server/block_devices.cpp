// Suite "integrity": the file backend on a block device, past the page cache, with all that it maps: flush,
// FUA, discard and write-zeroes.
#include "conformance/driver/case.hpp"
#include "conformance/server/modules.hpp"
#include "conformance/server/served_disk.hpp"
#include "conformance/server/suite.hpp"

#include <fstream>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

namespace conformance {

namespace {

constexpr std::size_t file_bytes = 16 << 20;

// A file as a block device; detached when the last user closes it.
class Loop {
  public:
    Loop()
    {
        need_module("loop");
        const auto control = ublk::wire::open_node("/dev/loop-control", O_RDWR);
        expect_true(control.has_value(), "/dev/loop-control opens");
        const long number = sys(::ioctl(control->get(), LOOP_CTL_GET_FREE));
        expect_not_negative(number, "a free loop device");
        path_ = fmt::format("/dev/loop{}", number);
        const Fd file(::open("/tmp/below.img", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        expect_ok(sys(::ftruncate(file.get(), file_bytes)), "a file for the loop device");
        device_ = Fd(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
        ::loop_config config{};
        config.fd = static_cast<std::uint32_t>(file.get());
        config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
        expect_ok(sys(::ioctl(device_.get(), LOOP_CONFIGURE, &config)), "LOOP_CONFIGURE");
    }
    const std::string& path() const { return path_; }

  private:
    std::string path_;
    Fd device_;
};

// A discard may do nothing, as on a RAM disk without write-zeroes, but not half of it.
void discard(const ServedDisk& disk, std::span<std::byte> image, std::uint64_t offset, std::uint64_t bytes)
{
    std::uint64_t range[2] = {offset, bytes};
    expect_ok(sys(::ioctl(disk.fd(), BLKDISCARD, range)), "BLKDISCARD");
    const Buffer now(bytes);
    expect_eq(static_cast<long>(bytes), disk.read(offset / 512, now.span()), "bytes read");
    const auto then = image.subspan(offset, bytes);
    if (std::ranges::equal(now.span(), then))
        return;
    std::ranges::fill(then, std::byte{0});
    expect_true(std::ranges::equal(now.span(), then), "what was discarded reads as zeroes");
}

void holds_what_it_is_told(const std::string& below)
{
    ServedDisk disk({"--type", "file", "--file", below, "--direct", "--queues", "2"});
    const Buffer image(file_bytes);
    fill(image.span(), 5);
    constexpr std::size_t piece = 256 * 1024;
    for (std::size_t at = 0; at < file_bytes; at += piece)
        expect_eq(static_cast<long>(piece), disk.write(at / 512, image.span().subspan(at, piece)),
                  "bytes written");
    discard(disk, image.span(), 4 << 20, 1 << 20);
    std::uint64_t zeroed[2] = {(1 << 20) + 512, 70'144}; // ends inside of pages
    expect_ok(sys(::ioctl(disk.fd(), BLKZEROOUT, zeroed)), "BLKZEROOUT");
    std::ranges::fill(image.span().subspan(zeroed[0], zeroed[1]), std::byte{0});
    const Buffer block(4096);
    fill(block.span(), 6);
    const iovec durable{block.span().data(), 4096};
    expect_eq(4096L, sys(::pwritev2(disk.fd(), &durable, 1, 8 << 20, RWF_DSYNC)), "bytes written with FUA");
    std::ranges::copy(block.span(), image.span().subspan(8 << 20).begin());
    expect_ok(sys(::fsync(disk.fd())), "fsync");
    const auto wanted = md5_of(std::span<const std::byte>(image.span()));
    expect_eq(wanted, md5_of(disk.path(), true), "MD5 of the device");
    expect_eq(wanted, md5_of(below, true), "MD5 of the device below");
    disk.stop();
}

} // namespace

CASE("INTEGRITY-BLOCK-001", contract,
     "a file device with direct I/O on a loop device holds what was written, zeroed and discarded",
     integrity_suite, timeout(120s))
{
    const Loop below;
    holds_what_it_is_told(below.path());
}

CASE("INTEGRITY-BLOCK-002", contract,
     "a file device with direct I/O on a RAM disk holds what was written, zeroed and discarded",
     integrity_suite, timeout(120s))
{
    need_module("brd");
    holds_what_it_is_told("/dev/ram0");
}

} // namespace conformance
