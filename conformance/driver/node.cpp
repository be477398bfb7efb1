// UBLK-NODE: the control node and feature discovery.
#include "conformance/driver/case.hpp"
#include "conformance/driver/driver.hpp"

namespace conformance {

CASE("UBLK-NODE-013", contract, "GET_FEATURES takes a length of exactly 8 bytes")
{
    Driver driver;
    std::uint64_t bits[2] = {};
    for (const std::uint16_t len : {0, 7, 9, 16})
        expect_error(EINVAL, driver.control(CtrlNr::get_features,
                                            {.len = len, .addr = reinterpret_cast<std::uintptr_t>(bits)}));
    expect_ok(
        driver.control(CtrlNr::get_features, {.len = 8, .addr = reinterpret_cast<std::uintptr_t>(bits)}));
}

} // namespace conformance
