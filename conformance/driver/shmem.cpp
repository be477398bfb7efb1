// UBLK-SHMEM: registering memory with a device, and what becomes of the registration.
#include "conformance/driver/case.hpp"
#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/lifecycle_verbs.hpp"
#include "conformance/driver/shmem_verbs.hpp"
#include "conformance/driver/user_verbs.hpp"

#include <climits>
#include <optional>
#include <sys/mman.h>
#include <sys/resource.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

Device make_shmem(Driver& driver, Features more = {})
{
    return driver.make({.flags = more | Feature::shmem_zc});
}

// REG_BUF with everything in the case's hand.
long send_reg_buf(const Device& device, const uapi::ShmemBufReg& reg, std::size_t len = sizeof(reg))
{
    return device.driver().control(CtrlNr::reg_buf, device.cmd(&reg, len));
}

void expect_index(unsigned index, long res, std::string_view what, Where where = Where::current())
{
    if (res < 0)
        fail(fmt::format("{}: index {}", what, index), result_text(res), where);
    expect_eq(index, static_cast<unsigned>(res), fmt::format("{}: index", what), where);
}

// An application's write from registered memory, with the place that the server is told.
void expect_write_matches(const Device& device, Server& server, const std::byte* memory, unsigned index,
                          std::string_view what, Where where = Where::current())
{
    auto app = write_from(device, memory, page_size());
    const auto request = server.expect_request(what, where);
    expect_match(request, index, 0, what, where);
    const auto bytes = static_cast<std::int32_t>(page_size());
    server.commit(request.q, request.tag, bytes);
    expect_eq(bytes, server.serve_until(app, where), fmt::format("{}: bytes written", what), where);
}

} // namespace

CASE("UBLK-SHMEM-001", contract, "A device without SHMEM_ZC takes neither REG_BUF nor UNREG_BUF")
{
    Driver driver;
    const Device device = driver.make();
    SharedPages pages(1);
    expect_error(EOPNOTSUPP, register_memory(device, pages.map(), pages.bytes()), "REG_BUF");
    expect_error(EOPNOTSUPP, unregister(device, 0), "UNREG_BUF");
}

CASE("UBLK-SHMEM-002", contract, "REG_BUF returns the lowest index that is free, from 0 on",
     needs(Feature::shmem_zc))
{
    Driver driver;
    const Device device = make_shmem(driver);
    SharedPages pages(5);
    std::byte* memory = pages.map();
    const auto page = [&](unsigned i) { return memory + i * page_size(); };
    for (unsigned i = 0; i < 4; ++i)
        expect_index(i, register_memory(device, page(i), page_size()), "REG_BUF");
    expect_ok(unregister(device, 2), "UNREG_BUF of 2");
    expect_ok(unregister(device, 1), "UNREG_BUF of 1");
    expect_index(1, register_memory(device, page(4), page_size()), "REG_BUF with 1 and 2 free");
    expect_index(2, register_memory(device, page(2), page_size()), "REG_BUF with 2 free");
    expect_index(4, register_memory(device, page(1), page_size()), "REG_BUF with none free below 4");
}

CASE("UBLK-SHMEM-003", contract, "REG_BUF takes whole pages, at least one and at most 4 GiB",
     needs(Feature::shmem_zc))
{
    constexpr std::uint64_t most = 1ULL << 32;
    Driver driver;
    const Device device = make_shmem(driver);
    SharedPages pages(2);
    const std::byte* memory = pages.map();
    const std::uint64_t page = page_size();
    for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{1}, page - 1, page + 512, most + page,
                                      most - 1, std::uint64_t{1} << 63})
        expect_error(EINVAL, register_memory(device, memory, bytes), fmt::format("{} bytes", bytes));
    for (const std::size_t offset : {std::size_t{1}, std::size_t{512}, page_size() - 1})
        expect_error(EINVAL, register_memory(device, memory + offset, page),
                     fmt::format("{} bytes into a page", offset));
    // Nobody has that much: what is refused is the access, not the length.
    const Reserved space(most);
    expect_error(EFAULT, register_memory(device, space.begin(), most), "4 GiB without access");
    expect_index(0, register_memory(device, memory, 2 * page), "two pages");
}

CASE("UBLK-SHMEM-004", contract,
     "REG_BUF refuses flags that it does not know, and a reserved word that is set", needs(Feature::shmem_zc))
{
    Driver driver;
    const Device device = make_shmem(driver);
    SharedPages pages(1);
    uapi::ShmemBufReg reg{.addr = address(pages.map()), .len = pages.bytes()};
    for (const std::uint32_t flags : {2U, 3U, 1U << 31}) {
        reg.flags = flags;
        expect_error(EINVAL, send_reg_buf(device, reg), fmt::format("flags {:#x}", flags));
    }
    reg.flags = uapi::shmem_buf_read_only;
    for (const std::uint32_t reserved : {1U, 1U << 31}) {
        reg.reserved = reserved;
        expect_error(EINVAL, send_reg_buf(device, reg), fmt::format("reserved {:#x}", reserved));
    }
    reg.reserved = 0;
    expect_index(0, send_reg_buf(device, reg), "flag READ_ONLY");
}

CASE("UBLK-SHMEM-005", contract, "What REG_BUF is not given of its structure counts as zero",
     needs(Feature::shmem_zc))
{
    Driver driver;
    const Device device = make_shmem(driver);
    SharedPages pages(2);
    const uapi::ShmemBufReg bad_tail{
        .addr = address(pages.map()), .len = page_size(), .flags = ~0U, .reserved = ~0U};
    for (const std::size_t len : {0, 8})
        expect_error(EINVAL, send_reg_buf(device, bad_tail, len), fmt::format("{} bytes, no length", len));
    for (const std::size_t len : {20, 24})
        expect_error(EINVAL, send_reg_buf(device, bad_tail, len), fmt::format("{} bytes, with flags", len));
    expect_index(0, send_reg_buf(device, bad_tail, 16), "16 bytes: address and length");
    const GuardedPages guarded;
    for (const void* bad : {static_cast<const void*>(nullptr), static_cast<const void*>(guarded.end())})
        expect_error(EFAULT, driver.control(CtrlNr::reg_buf, device.cmd(bad, sizeof(uapi::ShmemBufReg))),
                     fmt::format("a structure at {}", bad));
}

CASE("UBLK-SHMEM-006", contract,
     "REG_BUF refuses memory that is not all there, or not writable without READ_ONLY",
     needs(Feature::shmem_zc))
{
    Driver driver;
    const Device device = make_shmem(driver);
    const GuardedPages guarded(3);
    expect_error(EFAULT, register_memory(device, guarded.begin(), 4 * page_size()), "a hole at the end");
    expect_error(EFAULT, register_memory(device, guarded.end(), page_size()), "no access at all");
    SharedPages pages(2);
    const std::byte* constant = pages.map(PROT_READ);
    expect_error(EFAULT, register_memory(device, constant, pages.bytes()), "read-only, without READ_ONLY");
    expect_index(0, register_memory(device, constant, pages.bytes(), uapi::shmem_buf_read_only),
                 "read-only, with READ_ONLY");
    expect_index(1, register_memory(device, guarded.begin(), 3 * page_size()), "without the hole");
}

CASE("UBLK-SHMEM-007", contract, "Memory that is sealed against writing can be registered READ_ONLY",
     needs(Feature::shmem_zc))
{
    Driver driver;
    const Device device = make_shmem(driver);
    SharedPages pages(4);
    fill(pages.map(), pages.bytes(), 0x3c);
    pages.unmap_all();
    expect_ok(pages.seal_against_writing(), "F_SEAL_WRITE");
    const std::byte* memory = pages.map(PROT_READ);
    expect_error(EFAULT, register_memory(device, memory, pages.bytes()), "without READ_ONLY");
    expect_index(0, register_memory(device, memory, pages.bytes(), uapi::shmem_buf_read_only), "READ_ONLY");
    Server server(device);
    server.go_live();
    expect_write_matches(device, server, memory, 0, "a write from sealed memory");
}

CASE("UBLK-SHMEM-008", contract,
     "A page is registered once with a device: REG_BUF with one more of it is EEXIST, and changes nothing",
     needs(Feature::shmem_zc))
{
    Driver driver;
    const Device device = make_shmem(driver);
    SharedPages pages(6);
    std::byte* memory = pages.map();
    const auto page = [&](unsigned i) { return memory + i * page_size(); };
    expect_index(0, register_memory(device, page(2), 2 * page_size()), "pages 2 and 3");
    const std::byte* other_view = pages.map();
    expect_error(EEXIST, register_memory(device, page(2), 2 * page_size()), "the same again");
    expect_error(EEXIST, register_memory(device, other_view + 2 * page_size(), page_size()),
                 "page 2 through another mapping");
    expect_error(EEXIST, register_memory(device, memory, pages.bytes()), "pages 0 to 5");
    expect_error(EEXIST, register_memory(device, page(3), 2 * page_size()), "pages 3 and 4");
    SharedPages twice(1);
    const Reserved space(2 * page_size());
    for (unsigned i = 0; i < 2; ++i)
        twice.map_at(space.begin() + i * page_size());
    expect_error(EEXIST, register_memory(device, space.begin(), 2 * page_size()), "one page, mapped twice");
    expect_index(1, register_memory(device, space.begin(), page_size()), "that page once");
    expect_index(2, register_memory(device, page(0), 2 * page_size()), "pages 0 and 1");
    expect_index(3, register_memory(device, page(4), 2 * page_size()), "pages 4 and 5");
}

CASE("UBLK-SHMEM-009", contract, "Two devices may have the same memory registered", needs(Feature::shmem_zc))
{
    Driver driver;
    const Device first = make_shmem(driver), second = make_shmem(driver);
    SharedPages pages(2);
    const std::byte* memory = pages.map();
    for (const Device* device : {&first, &second})
        expect_index(0, register_memory(*device, memory, pages.bytes()), "REG_BUF");
    Server server(second);
    server.go_live();
    expect_ok(unregister(first, 0), "UNREG_BUF of the first device's");
    expect_write_matches(second, server, memory, 0, "a write to the second device");
}

CASE("UBLK-SHMEM-010", contract, "Private memory can be registered as well", needs(Feature::shmem_zc))
{
    Driver driver;
    const Device device = make_shmem(driver);
    const Pages memory(4 * page_size());
    expect_index(0, register_memory(device, memory.bytes().data(), memory.bytes().size()), "REG_BUF");
    Server server(device);
    server.go_live();
    expect_write_matches(device, server, memory.bytes().data(), 0, "a write from private memory");
}

CASE("UBLK-SHMEM-011", behaviour,
     "Registered memory is not held against RLIMIT_MEMLOCK, not an unprivileged user's either",
     needs(Feature::shmem_zc))
{
    as_user([](User::Self& self) {
        Driver driver;
        const Device device = self.make(driver, {.flags = Feature::shmem_zc});
        const rlimit none{0, 0};
        expect_ok(sys(::setrlimit(RLIMIT_MEMLOCK, &none)), "setrlimit");
        SharedPages pages(4096);
        const std::byte* memory = pages.map();
        expect_any_error({EPERM, ENOMEM}, sys(::mlock(memory, page_size())), "mlock of one page");
        expect_index(0, register_memory(device, memory, pages.bytes()), "REG_BUF of 4096 pages");
        pages.unmap_all();
        expect_error(EBUSY, pages.seal_against_writing(), "sealing pages that are pinned");
        expect_ok(unregister(device, 0), "UNREG_BUF");
        expect_ok(pages.seal_against_writing(), "sealing pages that are pinned no more");
    });
}

CASE("UBLK-SHMEM-012", behaviour,
     "UNREG_BUF takes the lower half of its argument as an index: none beyond 65535, and one that is in use",
     needs(Feature::shmem_zc))
{
    Driver driver;
    const Device device = make_shmem(driver);
    SharedPages pages(1);
    const std::byte* memory = pages.map();
    const auto upper_half = std::uint64_t{1} << 32;
    for (const std::uint64_t index : {std::uint64_t{65536}, std::uint64_t{INT_MAX}, std::uint64_t{1} << 31,
                                      std::uint64_t{0xffffffff}, ~std::uint64_t{0}, upper_half | 65536})
        expect_error(EINVAL, unregister(device, index), fmt::format("index {:#x}", index));
    for (const std::uint64_t index : {0, 1, 65535})
        expect_error(ENOENT, unregister(device, index), fmt::format("unused index {}", index));
    expect_index(0, register_memory(device, memory, pages.bytes()), "REG_BUF");
    expect_error(ENOENT, unregister(device, 1), "the index behind the one in use");
    expect_ok(unregister(device, upper_half), "index 0 with a bit of the upper half");
    expect_error(ENOENT, unregister(device, 0), "index 0 again");
}

CASE("UBLK-SHMEM-013", contract,
     "After UNREG_BUF index and memory can be registered again, and pins are gone", needs(Feature::shmem_zc))
{
    Driver driver;
    const Device device = make_shmem(driver);
    SharedPages pages(8), others(8);
    for (unsigned round = 0; round < 3; ++round) {
        const std::byte* memory = pages.map();
        expect_index(0, register_memory(device, memory, pages.bytes()), "REG_BUF");
        expect_ok(unregister(device, 0), "UNREG_BUF");
        expect_index(0, register_memory(device, others.map(), others.bytes()), "REG_BUF of other memory");
        expect_ok(unregister(device, 0), "UNREG_BUF of other memory");
    }
    pages.unmap_all();
    expect_ok(pages.seal_against_writing(), "sealing the pages");
}

CASE("UBLK-SHMEM-022", contract,
     "REG_BUF of an unprivileged device has its structure behind the path, and UNREG_BUF the path alone",
     needs(Feature::shmem_zc))
{
    as_user([](User::Self& self) {
        Driver driver;
        const Device device = self.make(driver, {.flags = Feature::shmem_zc});
        SharedPages pages(2);
        const std::byte* memory = pages.map();
        expect_error(EINVAL, send_reg_buf(device, {.addr = address(memory), .len = pages.bytes()}),
                     "REG_BUF without the path");
        expect_error(EINVAL, driver.control(CtrlNr::unreg_buf, {.dev_id = device.id()}),
                     "UNREG_BUF without the path");
        expect_error(EINVAL, device.control(CtrlNr::reg_buf), "REG_BUF with the path and no structure");
        expect_index(0, register_memory(device, memory, pages.bytes()), "REG_BUF");
        expect_error(ENOENT, unregister(device, 1), "UNREG_BUF of an index that is not in use");
        Server server(device);
        server.go_live();
        self.get_nodes();
        expect_write_matches(device, server, memory, 0, "a write of the user's");
        expect_ok(unregister(device, 0), "UNREG_BUF");
    });
}

} // namespace conformance
