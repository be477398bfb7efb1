// UBLK-CTRL-AFF: GET_QUEUE_AFFINITY.
#include "conformance/driver/case.hpp"
#include "conformance/driver/ctrl_verbs.hpp"

#include <algorithm>
#include <numeric>
#include <sys/mman.h>

namespace conformance {

namespace {

constexpr std::size_t mask_bytes = 1024; // more than any kernel's mask of CPUs

} // namespace

CASE("UBLK-CTRL-AFF-001", contract, "GET_QUEUE_AFFINITY takes the queue from data[0], and not from queue_id")
{
    Driver driver;
    const Device device = driver.make({.nr_hw_queues = 2});
    std::uint64_t mask[mask_bytes / 8];
    for (const unsigned outside : {device.queues(), device.queues() + 1, 0xffffU, 0x7fff'ffffU})
        expect_error(EINVAL,
                     driver.control(CtrlNr::get_queue_affinity, device.cmd(mask, mask_bytes, outside)),
                     fmt::format("queue {} of {}", outside, device.queues()));
    for (unsigned queue = 0; queue < device.queues(); ++queue) {
        for (const std::uint16_t queue_id : {0, 1, 9, 0xffff}) {
            CtrlCmd cmd = device.cmd(mask, mask_bytes, queue);
            cmd.queue_id = queue_id;
            expect_ok(driver.control(CtrlNr::get_queue_affinity, cmd));
            const unsigned first = queue_cpus(device, queue).at(0);
            expect_true((mask[first / 64] >> (first % 64) & 1) != 0,
                        fmt::format("data[0] {} and queue_id {} give queue {}", queue, queue_id, queue));
        }
    }
}

CASE("UBLK-CTRL-AFF-002", contract,
     "GET_QUEUE_AFFINITY takes whole 64-bit words with room for all CPUs, at an address that it can write to")
{
    Driver driver;
    const Device device = driver.make();
    Pages pages;
    const Pages constant(1, PROT_READ);
    const auto ask = [&](std::uint64_t addr, unsigned len) {
        return driver.control(CtrlNr::get_queue_affinity,
                              {.dev_id = device.id(), .len = static_cast<std::uint16_t>(len), .addr = addr});
    };
    const unsigned enough = (possible_cpus() + 63) / 64 * 8;
    for (const unsigned len : {0U, enough - 8, enough - 1, enough + 1, enough + 4})
        expect_error(EINVAL, ask(pages.addr(), len), fmt::format("{} bytes", len));
    expect_error(EINVAL, ask(0, enough), "the null address");
    expect_error(EFAULT, ask(constant.addr(), enough), "an address that cannot be written to");
    expect_ok(ask(pages.addr(), enough), fmt::format("{} bytes", enough));
}

CASE("UBLK-CTRL-AFF-003", contract,
     "GET_QUEUE_AFFINITY clears what is left of the buffer, and touches no more")
{
    Driver driver;
    const Device device = driver.make();
    constexpr std::size_t asked = 2048;
    std::vector<std::uint8_t> bytes(2 * asked, 0xff);
    expect_ok(driver.control(CtrlNr::get_queue_affinity, device.cmd(bytes.data(), asked)));
    const auto cut = bytes.begin() + asked;
    const auto used = std::find_if(std::reverse_iterator(cut), bytes.rend(), [](auto b) { return b != 0; });
    const auto last_cpu_byte = (possible_cpus() - 1) / 8;
    expect_eq(last_cpu_byte, static_cast<unsigned>(bytes.rend() - used - 1),
              "the last byte that is not zero");
    expect_eq(std::ptrdiff_t{asked}, std::count(cut, bytes.end(), 0xff),
              "bytes left alone behind the buffer");
}

CASE("UBLK-CTRL-AFF-004", contract, "The CPUs of a device's queues are all possible CPUs, each in one queue")
{
    Driver driver;
    std::vector<unsigned> all(possible_cpus());
    std::iota(all.begin(), all.end(), 0U);
    for (const unsigned queues :
         {1U, std::min(2U, possible_cpus()), (possible_cpus() + 1) / 2, possible_cpus()}) {
        const Device device = driver.make({.nr_hw_queues = queues});
        std::vector<unsigned> seen;
        for (unsigned queue = 0; queue < queues; ++queue) {
            const auto cpus = queue_cpus(device, queue);
            expect_true(!cpus.empty(), fmt::format("queue {} of {} has a CPU", queue, queues));
            seen.insert(seen.end(), cpus.begin(), cpus.end());
        }
        std::ranges::sort(seen);
        expect_eq(fmt::format("{}", fmt::join(all, " ")), fmt::format("{}", fmt::join(seen, " ")),
                  fmt::format("the CPUs of {} queues", queues));
    }
}

CASE("UBLK-CTRL-AFF-005", contract,
     "GET_QUEUE_AFFINITY answers from ADD_DEV on, with what holds later as well")
{
    Driver driver;
    const Device device = driver.make();
    const auto at_first = queue_cpus(device, 0);
    expect_true(!at_first.empty(), "the queue of a new device has CPUs");
    expect_ok(device.set_params(basic_params()));
    expect_true(at_first == queue_cpus(device, 0), "the queue has the same CPUs after SET_PARAMS");
}

} // namespace conformance
