#include "conformance/driver/ctrl_verbs.hpp"

#include <array>
#include <cstring>
#include <fstream>
#include <sys/mman.h>

namespace conformance {

Pages::Pages(std::size_t bytes, int protection)
{
    size_ = (bytes + page_size() - 1) / page_size() * page_size();
    void* base = ::mmap(nullptr, size_, protection < 0 ? PROT_READ | PROT_WRITE : protection,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        fail("memory for the case", errno_text(errno));
    base_ = static_cast<std::byte*>(base);
}

Pages::~Pages()
{
    ::munmap(base_, size_);
}

void Pages::protect(int protection)
{
    if (::mprotect(base_, size_, protection) != 0)
        fail("mprotect works", errno_text(errno));
}

std::span<const CtrlNr> device_commands()
{
    static constexpr std::array all{
        CtrlNr::get_queue_affinity, CtrlNr::get_dev_info,  CtrlNr::del_dev,       CtrlNr::start_dev,
        CtrlNr::stop_dev,           CtrlNr::set_params,    CtrlNr::get_params,    CtrlNr::start_user_recovery,
        CtrlNr::end_user_recovery,  CtrlNr::get_dev_info2, CtrlNr::del_dev_async, CtrlNr::update_size,
        CtrlNr::quiesce_dev,        CtrlNr::try_stop_dev,  CtrlNr::reg_buf,       CtrlNr::unreg_buf};
    return all;
}

bool has_char_node(std::uint32_t dev_id)
{
    return ::access(ublk::wire::char_path(dev_id).c_str(), F_OK) == 0;
}

std::uint32_t lowest_free_id()
{
    std::uint32_t id = 0;
    while (has_char_node(id))
        ++id;
    return id;
}

bool kernel_has_zoned()
{
    std::ifstream symbols("/proc/kallsyms");
    bool any = false;
    for (std::string line; std::getline(symbols, line); any = true) {
        if (line.ends_with(" blk_revalidate_disk_zones"))
            return true;
    }
    if (!any)
        skip("needs /proc/kallsyms to tell whether the kernel knows zoned devices");
    return false;
}

std::vector<unsigned> queue_cpus(const Device& device, unsigned queue, Where where)
{
    std::vector<std::uint64_t> mask(1024 / sizeof(std::uint64_t));
    const auto bytes = mask.size() * sizeof(std::uint64_t);
    const std::string path = device.unprivileged() ? device.char_path() : "";
    std::string buffer = path + std::string(bytes, '\0');
    auto cmd = device.cmd(buffer.data(), buffer.size(), queue);
    cmd.dev_path_len = static_cast<std::uint16_t>(path.size());
    const long res = device.driver().control(CtrlNr::get_queue_affinity, cmd, where);
    if (res != 0)
        fail(fmt::format("GET_QUEUE_AFFINITY of queue {} works", queue), result_text(res), where);
    std::memcpy(mask.data(), buffer.data() + path.size(), bytes);
    std::vector<unsigned> cpus;
    for (unsigned cpu = 0; cpu < 8192; ++cpu) {
        if ((mask[cpu / 64] >> (cpu % 64) & 1) != 0)
            cpus.push_back(cpu);
    }
    return cpus;
}

} // namespace conformance
