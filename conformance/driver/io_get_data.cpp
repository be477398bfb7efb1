// UBLK-IO-NGD: data that the server asks for with NEED_GET_DATA.
#include "conformance/driver/case.hpp"
#include "conformance/driver/data_verbs.hpp"

#include <algorithm>
#include <fcntl.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

constexpr auto get_data = IoNr::need_get_data;
const AddOptions get_data_device{.queue_depth = 1, .flags = Feature::need_get_data};

IoCmd into(IoCmd cmd, std::uint64_t addr)
{
    cmd.addr = addr;
    return cmd;
}

} // namespace

CASE("UBLK-IO-NGD-001", contract,
     "A write comes without its data and says so; what has none to bring does not",
     needs(Feature::need_get_data))
{
    Driver driver;
    Live live(driver, no_data_params(), get_data_device);
    auto write = live.hold_write();
    expect_eq(uapi::io_res_need_get_data, write.request.res, "result of a write's completion");
    expect_ok(live.server.io(get_data, live.server.cmd(0, 0)), "NEED_GET_DATA");
    expect_eq(4096, live.finish(write, 4096), "bytes written");
    auto read = live.hold_read();
    expect_ok(read.request.res, "result of a read's completion");
    expect_eq(4096, live.finish(read, 4096), "bytes read");
    for (const auto& [what, call] : no_data_calls()) {
        auto held = hold(live.server, app_with(live.device, O_RDWR, call));
        expect_ok(held.request.res, fmt::format("result of the completion of {}", what));
        expect_ok(live.finish(held, 0), what);
    }
}

CASE("UBLK-IO-NGD-002", contract, "NEED_GET_DATA is refused unless the tag's thread was told to send it",
     needs(Feature::need_get_data))
{
    Driver driver;
    const auto unfetched = driver.make(get_data_device);
    Server before(unfetched);
    expect_error(EINVAL, before.io(get_data, before.cmd(0, 0)), "unfetched tag");
    Live live(driver, basic_params(), get_data_device);
    const auto cmd = live.server.cmd(0, 0);
    expect_error(EBUSY, live.server.io(get_data, cmd), "armed tag");
    auto read = live.hold_read();
    expect_error(EINVAL, live.server.io(get_data, cmd), "a read");
    expect_eq(4096, live.finish(read, 4096), "bytes read");
    auto write = live.hold_write();
    Worker other;
    expect_error(EINVAL, other.io(live.server.fd(), get_data, cmd), "another thread");
    expect_ok(live.server.io(get_data, cmd), "NEED_GET_DATA as told");
    expect_error(EINVAL, live.server.io(get_data, cmd), "a write that has its data");
    expect_eq(4096, live.finish(write, 4096), "bytes written");
}

CASE("UBLK-IO-NGD-003", contract,
     "NEED_GET_DATA brings the data to the address that it names, and the descriptor then has that address",
     needs(Feature::need_get_data))
{
    Driver driver;
    Live live(driver, basic_params(), get_data_device);
    std::fill_n(live.server.buffer(0, 0), 4096, std::byte{0xee});
    auto write = hold(live.server, write_data(live.device, pattern(4096)));
    Bytes elsewhere(4096);
    const auto addr = reinterpret_cast<std::uintptr_t>(elsewhere.data());
    expect_ok(live.server.io(get_data, into(live.server.cmd(0, 0), addr)), "NEED_GET_DATA");
    expect_true(elsewhere == pattern(4096), "the data is where it was asked for");
    expect_true(all_are({live.server.buffer(0, 0), 4096}, std::byte{0xee}),
                "the FETCH's buffer is untouched");
    expect_eq(addr, live.server.desc(0, 0).addr, "the descriptor's address");
    expect_eq(4096, live.finish(write, 4096), "bytes written");
}

CASE("UBLK-IO-NGD-004", behaviour,
     "NEED_GET_DATA that can copy nothing has the request come again, and a good address then works",
     needs(Feature::need_get_data))
{
    Driver driver;
    Live live(driver, basic_params(), get_data_device);
    auto write = hold(live.server, write_data(live.device, pattern(4096, 1)));
    const GuardedPages pages;
    const auto cmd = live.server.cmd(0, 0);
    for (const auto addr : {std::uint64_t{0}, std::uint64_t{reinterpret_cast<std::uintptr_t>(pages.end())}}) {
        expect_eq(uapi::io_res_need_get_data, live.server.io(get_data, into(cmd, addr)),
                  addr == 0 ? "NEED_GET_DATA without an address" : "NEED_GET_DATA to memory that faults");
        expect_true(!write.app.done(), "the write waits");
    }
    expect_ok(live.server.io(get_data, cmd), "NEED_GET_DATA to good memory");
    expect_true(std::ranges::equal(pattern(4096, 1), std::span(live.server.buffer(0, 0), 4096)),
                "the server got what the application wrote");
    expect_eq(4096, live.finish(write, 4096), "bytes written");
}

CASE("UBLK-IO-NGD-005", contract, "A device without NEED_GET_DATA knows no such command")
{
    Driver driver;
    Live live(driver, basic_params(), {.queue_depth = 1});
    auto write = live.hold_write();
    expect_ok(write.request.res, "result of a write's completion");
    expect_error(EINVAL, live.server.io(get_data, live.server.cmd(0, 0)));
    expect_eq(4096, live.finish(write, 4096), "bytes written");
}

CASE("UBLK-IO-NGD-006", contract,
     "The data of a write from registered memory can be found where it is also got on demand",
     needs(Feature::need_get_data | Feature::shmem_zc))
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 1, .flags = Feature::need_get_data | Feature::shmem_zc});
    const GuardedPages memory;
    const std::span bytes(memory.begin(), memory.end());
    std::ranges::copy(pattern(bytes.size()), bytes.begin());
    const uapi::ShmemBufReg reg{.addr = reinterpret_cast<std::uintptr_t>(memory.begin()),
                                .len = bytes.size()};
    const long index = driver.control(CtrlNr::reg_buf, device.cmd(&reg, sizeof(reg)));
    expect_not_negative(index, "REG_BUF");
    Server server(device);
    server.go_live();
    auto write = hold(server, app_with(device, O_WRONLY | O_DIRECT, [bytes](int fd) {
                          return sys(::pwrite(fd, bytes.data(), bytes.size(), 0));
                      }));
    if (write.request.res == uapi::io_res_need_get_data)
        expect_ok(server.io(get_data, server.cmd(0, 0)), "NEED_GET_DATA");
    const auto desc = server.desc(0, 0);
    if (desc.flags().has(uapi::IoFlag::shmem_zc))
        expect_eq(uapi::to_desc_addr({.index = static_cast<std::uint16_t>(index)}), desc.addr,
                  "address of a request that lies in registered memory");
    else
        expect_true(std::ranges::equal(bytes, std::span(server.buffer(0, 0), bytes.size())),
                    "the data is in the server's buffer");
    server.commit(0, 0, static_cast<std::int32_t>(bytes.size()));
    expect_eq(4096, server.serve_until(write.app), "bytes written");
}

} // namespace conformance
