#include "conformance/server/power_disk.hpp"

#include "conformance/driver/driver.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

namespace conformance {

namespace {

constexpr const char* configfs = "/sys/kernel/config";
constexpr const char* cache_mib = "64";

} // namespace

PowerDisk::PowerDisk(unsigned mib, Where where) : directory_(std::string(configfs) + "/nullb/power")
{
    ::mount("configfs", configfs, "configfs", 0, nullptr); // or it is mounted
    if (::mkdir(directory_.c_str(), 0755) != 0)
        skip(fmt::format("needs null_blk for {{disk}}, which this kernel lacks: {}", errno_text(errno)));
    set("size", std::to_string(mib), where);
    set("memory_backed", "1", where);
    set("cache_size", cache_mib, where);
    set("blocksize", "512", where);
    set("power", "1", where);
    std::string index = "0";
    if (const Fd file(::open((directory_ + "/index").c_str(), O_RDONLY | O_CLOEXEC)); file) {
        char text[16] = {};
        if (::read(file.get(), text, sizeof(text) - 1) > 0)
            index = std::to_string(std::atoi(text));
    }
    // Named by its number in some releases, by its directory in others.
    path_ = "/dev/power";
    if (::access(path_.c_str(), F_OK) != 0)
        path_ = "/dev/nullb" + index;
    wait_for_node(where);
}

PowerDisk::~PowerDisk()
{
    ::rmdir(directory_.c_str());
}

void PowerDisk::lose_power(Where where)
{
    set("power", "0", where);
    set("power", "1", where);
    wait_for_node(where);
}

void PowerDisk::set_bad(std::uint64_t offset, std::uint64_t bytes, bool bad, Where where)
{
    const auto first = offset / 512, last = (offset + bytes) / 512 - 1;
    set("badblocks", fmt::format("{}{}-{}", bad ? '+' : '-', first, last), where);
}

void PowerDisk::set(const std::string& attribute, const std::string& value, Where where) const
{
    const auto path = directory_ + "/" + attribute;
    const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    const long res = file ? sys(::write(file.get(), value.data(), value.size())) : -errno;
    if (res < 0)
        fail(fmt::format("null_blk takes {} = {}", attribute, value), result_text(res), where);
}

void PowerDisk::wait_for_node(Where where) const
{
    if (!eventually([this] { return ::access(path_.c_str(), F_OK) == 0; }))
        fail("null_blk brings up " + path_, "it is not there", where);
}

} // namespace conformance
