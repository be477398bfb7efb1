#include "conformance/driver/shmem_verbs.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>

namespace conformance {

namespace uapi = ublk::uapi;

SharedPages::SharedPages(std::size_t pages)
    : bytes_(pages * page_size()), memfd_(::memfd_create("ublkcheck", MFD_CLOEXEC | MFD_ALLOW_SEALING))
{
    if (!memfd_ || ::ftruncate(memfd_.get(), static_cast<off_t>(bytes_)) != 0)
        fail("shared memory for the case", errno_text(errno));
}

SharedPages::~SharedPages()
{
    unmap_all();
}

std::byte* SharedPages::map(int protection, Where where)
{
    void* base = ::mmap(nullptr, bytes_, protection < 0 ? PROT_READ | PROT_WRITE : protection, MAP_SHARED,
                        memfd_.get(), 0);
    if (base == MAP_FAILED)
        fail("the shared memory maps", errno_text(errno), where);
    mappings_.push_back(static_cast<std::byte*>(base));
    return mappings_.back();
}

void SharedPages::map_at(std::byte* at, Where where)
{
    if (::mmap(at, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memfd_.get(), 0) ==
        MAP_FAILED)
        fail("the shared memory maps where it is told to", errno_text(errno), where);
}

void SharedPages::unmap_all()
{
    for (std::byte* base : mappings_)
        ::munmap(base, bytes_);
    mappings_.clear();
}

long SharedPages::seal_against_writing()
{
    return sys(::fcntl(memfd_.get(), F_ADD_SEALS, F_SEAL_WRITE));
}

Reserved::Reserved(std::size_t bytes) : bytes_(bytes)
{
    void* base = ::mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        fail("address space for the case", errno_text(errno));
    base_ = static_cast<std::byte*>(base);
}

Reserved::~Reserved()
{
    ::munmap(base_, bytes_);
}

long register_memory(const Device& device, const void* memory, std::size_t bytes, std::uint32_t flags,
                     Where where)
{
    uapi::ShmemBufReg reg{.addr = reinterpret_cast<std::uintptr_t>(memory), .len = bytes, .flags = flags};
    return device.exchange(CtrlNr::reg_buf, &reg, sizeof(reg), where);
}

long unregister(const Device& device, std::uint64_t index, Where where)
{
    return device.control(CtrlNr::unreg_buf, index, where);
}

App write_from(const Device& device, const void* memory, std::size_t bytes, std::uint64_t sector)
{
    return app_with(device, O_WRONLY | O_DIRECT, [=](int fd) {
        return sys(::pwrite(fd, memory, bytes, static_cast<off_t>(sector * uapi::sector_size)));
    });
}

App read_into(const Device& device, void* memory, std::size_t bytes, std::uint64_t sector)
{
    return app_with(device, O_RDONLY | O_DIRECT, [=](int fd) {
        return sys(::pread(fd, memory, bytes, static_cast<off_t>(sector * uapi::sector_size)));
    });
}

void expect_match(const Server::Request& request, unsigned index, std::uint64_t offset, std::string_view what,
                  Where where)
{
    if (!request.desc.flags().has(uapi::IoFlag::shmem_zc))
        fail(fmt::format("{}: the request is marked SHMEM_ZC", what),
             fmt::format("op_flags = {:#x}, addr = {:#x}", request.desc.op_flags, request.desc.addr), where);
    const auto place = std::uint64_t{index} << 32 | offset;
    expect_eq(fmt::format("{:#x}", place), fmt::format("{:#x}", request.desc.addr),
              fmt::format("{}: addr", what), where);
}

void expect_no_match(Server& server, const Server::Request& request, std::string_view what, Where where)
{
    expect_true(!request.desc.flags().has(uapi::IoFlag::shmem_zc),
                fmt::format("{}: the request is not marked SHMEM_ZC", what), where);
    expect_eq(server.buffer_addr(request.q, request.tag), request.desc.addr, fmt::format("{}: addr", what),
              where);
}

void fill(std::byte* at, std::size_t bytes, int value)
{
    std::memset(at, value, bytes);
}

bool filled_with(const std::byte* at, std::size_t bytes, int value)
{
    return std::all_of(at, at + bytes, [value](std::byte b) { return b == std::byte(value); });
}

} // namespace conformance
