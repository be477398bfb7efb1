#include "conformance/driver/partition_verbs.hpp"

#include <cstring>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace conformance {

namespace uapi = ublk::uapi;

std::vector<std::byte> partitioned_disk()
{
    std::vector<std::byte> disk(basic_params().basic.dev_sectors * uapi::sector_size);
    // A master boot record; its first entry is at 446, with numbers of little-endian order.
    constexpr std::uint32_t first_sector = 2048;
    const auto put = [&](std::size_t at, std::uint32_t number, std::size_t bytes) {
        for (std::size_t i = 0; i < bytes; ++i)
            disk[at + i] = static_cast<std::byte>(number >> (8 * i));
    };
    put(446 + 4, 0x83, 1); // a type like any other
    put(446 + 8, first_sector, 4);
    put(446 + 12, static_cast<std::uint32_t>(partition_sectors), 4);
    put(510, 0xaa55, 2);
    return disk;
}

bool has_partition(const Device& device)
{
    return ::access(fmt::format("/sys/block/ublkb{0}/ublkb{0}p1", device.id()).c_str(), F_OK) == 0;
}

std::string partition_attribute(const Device& device, const std::string& name)
{
    return fmt::format("ublkb{}p1/{}", device.id(), name);
}

App reread_partitions(const Device& device)
{
    return app_with(device, O_RDONLY, [](int fd) { return sys(::ioctl(fd, BLKRRPART)); });
}

void expect_never_scanned(const Device& device, const SharedCounter& requests, Where where)
{
    expect_true(!eventually([&] { return requests.value() != 0; }, settle),
                "no request reaches the server after START_DEV", where);
    auto scan = reread_partitions(device);
    expect_true(eventually([&] { return scan.done(); }), "BLKRRPART returns", where);
    expect_error(EINVAL, scan.result(), "BLKRRPART", where);
    expect_eq(0U, requests.value(), "requests at the server", where);
    expect_true(!has_partition(device), "no partition is found", where);
    auto read = App::read(device, 0, 4096);
    expect_true(eventually([&] { return read.done(); }), "a read returns", where);
    expect_eq(4096, read.result(), "bytes read", where);
    expect_eq(1U, requests.value(), "requests at the server after a read", where);
}

} // namespace conformance
