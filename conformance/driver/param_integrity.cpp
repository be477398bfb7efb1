// UBLK-PARAM-INT: the integrity block.
#include "conformance/driver/case.hpp"
#include "conformance/driver/integrity_verbs.hpp"

#include <algorithm>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

using uapi::ParamIntegrity;
using uapi::pi_cap_integrity;
using uapi::pi_cap_reftag;
using uapi::PiChecksum;

constexpr std::uint8_t raw(PiChecksum checksum)
{
    return static_cast<std::uint8_t>(checksum);
}

constexpr PiChecksum all_checksums[] = {PiChecksum::none, PiChecksum::ip, PiChecksum::crc16_t10dif,
                                        PiChecksum::crc64_nvme};

// A device that keeps metadata, and the answers that SET_PARAMS gives for it.
struct Asked {
    Driver driver;
    Device device = driver.make({.flags = integrity});

    long set(const ParamIntegrity& block) const { return device.set_params(integrity_params(block)); }
};

ParamIntegrity with_interval(unsigned exponent)
{
    auto block = sound_integrity;
    block.interval_exp = static_cast<std::uint8_t>(exponent);
    return block;
}

Params with_blocks(unsigned shift, const ParamIntegrity& block)
{
    auto params = integrity_params(block);
    params.basic.logical_bs_shift = static_cast<std::uint8_t>(shift);
    return params;
}

std::string attribute(const Device& device, const char* name)
{
    return device.sysfs(std::string("integrity/") + name);
}

} // namespace

CASE("UBLK-PARAM-INT-001", contract, "An integrity block is for devices of that feature only",
     needs(integrity))
{
    Driver driver;
    const auto params = integrity_params(sound_integrity);
    expect_error(EINVAL, driver.make({.flags = Feature::user_copy}).set_params(params), "without INTEGRITY");
    expect_ok(driver.make({.flags = integrity}).set_params(params), "with INTEGRITY");
}

CASE("UBLK-PARAM-INT-002", contract, "Two flags of an integrity block exist, all others are refused",
     needs(integrity))
{
    const Asked asked;
    auto block = sound_integrity;
    for (const std::uint32_t flags : {1U << 2, 1U << 3, 1U << 31, ~0U, pi_cap_integrity | 1U << 4}) {
        block.flags = flags;
        expect_error(EINVAL, asked.set(block), fmt::format("flags {:#x}", flags));
    }
    for (const std::uint32_t flags :
         {0U, pi_cap_integrity, pi_cap_reftag, pi_cap_integrity | pi_cap_reftag}) {
        block.flags = flags;
        expect_ok(asked.set(block), fmt::format("flags {:#x}", flags));
    }
}

CASE("UBLK-PARAM-INT-003", contract, "Checksums are none, IP, CRC16 of T10 and CRC64 of NVMe",
     needs(integrity))
{
    const Asked asked;
    for (unsigned type = 0; type < 256; ++type) {
        const ParamIntegrity block{
            .interval_exp = 9, .metadata_size = 16, .csum_type = static_cast<std::uint8_t>(type)};
        if (std::ranges::find(all_checksums, static_cast<PiChecksum>(type)) != std::end(all_checksums))
            expect_ok(asked.set(block), fmt::format("csum_type {}", type));
        else
            expect_error(EINVAL, asked.set(block), fmt::format("csum_type {}", type));
    }
}

CASE("UBLK-PARAM-INT-004", contract, "An integrity block has one byte of metadata or more for each interval",
     needs(integrity))
{
    const Asked asked;
    expect_error(EINVAL, asked.set({.interval_exp = 9, .metadata_size = 0}), "metadata_size 0");
    for (const std::uint8_t bytes : {1, 7, 255})
        expect_ok(asked.set({.interval_exp = 9, .metadata_size = bytes}),
                  fmt::format("metadata_size {}", bytes));
}

CASE("UBLK-PARAM-INT-005", contract, "A reference tag needs a checksum beside it", needs(integrity))
{
    const Asked asked;
    auto block = sound_integrity;
    block.csum_type = raw(PiChecksum::none);
    expect_error(EINVAL, asked.set(block), "a reference tag without checksum");
    block.flags = pi_cap_integrity;
    expect_ok(asked.set(block), "neither");
    block.flags |= pi_cap_reftag;
    block.csum_type = raw(PiChecksum::ip);
    expect_ok(asked.set(block), "both");
}

CASE("UBLK-PARAM-INT-006", contract, "The tuple of the checksum lies within the metadata of its interval",
     needs(integrity))
{
    const Asked asked;
    const auto tuple = [](PiChecksum checksum) {
        return checksum == PiChecksum::none ? 0 : checksum == PiChecksum::crc64_nvme ? 16 : 8;
    };
    for (const auto checksum : all_checksums) {
        for (const int offset : {0, 1, 5, 32, 200}) {
            const int whole = offset + tuple(checksum);
            const auto set = [&](int metadata) {
                return asked.set({.interval_exp = 9,
                                  .metadata_size = static_cast<std::uint8_t>(metadata),
                                  .pi_offset = static_cast<std::uint8_t>(offset),
                                  .csum_type = raw(checksum)});
            };
            const auto what = [&](int metadata) {
                return fmt::format("csum_type {}, pi_offset {}, metadata_size {}", raw(checksum), offset,
                                   metadata);
            };
            if (whole > 1)
                expect_error(EINVAL, set(whole - 1), what(whole - 1));
            if (whole > 0)
                expect_ok(set(whole), what(whole));
        }
    }
    // 248 + 8 is more than a byte holds.
    expect_error(
        EINVAL,
        asked.set(
            {.interval_exp = 9, .metadata_size = 255, .pi_offset = 248, .csum_type = raw(PiChecksum::ip)}),
        "pi_offset 248");
}

CASE("UBLK-PARAM-INT-007", contract, "An interval has a sector or more, and a logical block or less",
     needs(integrity))
{
    const Asked asked;
    for (const unsigned shift : {9U, 12U}) {
        for (const unsigned exponent : {0U, 8U, 9U, 10U, 11U, 12U, 13U, 64U, 255U}) {
            const long res = asked.device.set_params(with_blocks(shift, with_interval(exponent)));
            const auto what = fmt::format("interval_exp {}, logical_bs_shift {}", exponent, shift);
            if (exponent < 9 || exponent > shift)
                expect_error(EINVAL, res, what);
            else
                expect_ok(res, what);
        }
    }
}

CASE("UBLK-PARAM-INT-008", contract,
     "The disk shows how many segments metadata may have; 0 stands for no limit", needs(integrity))
{
    for (const std::uint16_t segments : {0, 1, 77, 65535}) {
        auto block = sound_integrity;
        block.max_integrity_segments = segments;
        Driver driver;
        const Live live(driver, integrity_params(block), {.flags = integrity});
        expect_eq(segments == 0 ? 65535U : segments,
                  sysfs_number(live.device, "queue/max_integrity_segments"), "max_integrity_segments");
    }
}

CASE("UBLK-PARAM-INT-009", contract, "The disk shows its metadata as the parameters have it",
     needs(integrity))
{
    const auto expect_shown = [](const ParamIntegrity& block, const std::string& format) {
        Driver driver;
        const Live live(driver, with_blocks(12, block), {.flags = integrity});
        expect_eq(format, attribute(live.device, "format"), "format");
        const bool capable = (block.flags & pi_cap_integrity) != 0;
        expect_eq(std::string(capable ? "1" : "0"), attribute(live.device, "device_is_integrity_capable"),
                  "device_is_integrity_capable");
        expect_eq(std::to_string(1U << block.interval_exp),
                  attribute(live.device, "protection_interval_bytes"), "protection_interval_bytes");
        expect_eq(std::to_string(block.tag_size), attribute(live.device, "tag_size"), "tag_size");
    };
    ParamIntegrity block{.flags = pi_cap_integrity, .interval_exp = 9, .metadata_size = 16, .tag_size = 3};
    expect_shown(block, "nop");
    for (const auto& [checksum, family, suffix] : {std::tuple(PiChecksum::ip, "T10-DIF", "IP"),
                                                   {PiChecksum::crc16_t10dif, "T10-DIF", "CRC"},
                                                   {PiChecksum::crc64_nvme, "EXT-DIF", "CRC64"}}) {
        block.csum_type = raw(checksum);
        block.flags = pi_cap_integrity;
        block.interval_exp = 12;
        block.tag_size = 2;
        expect_shown(block, fmt::format("{}-TYPE3-{}", family, suffix));
        block.flags = pi_cap_reftag;
        block.interval_exp = 9;
        block.tag_size = 0;
        expect_shown(block, fmt::format("{}-TYPE1-{}", family, suffix));
    }
}

CASE("UBLK-PARAM-INT-010", contract, "An integrity block with more than one fault is EINVAL as with one",
     needs(integrity))
{
    Driver driver;
    const auto without = driver.make({.flags = Feature::user_copy});
    auto block = sound_integrity;
    block.csum_type = 3;
    expect_error(EINVAL, without.set_params(integrity_params(block)), "no such checksum, no INTEGRITY");
    block.flags = 1U << 2;
    block.metadata_size = 0;
    block.interval_exp = 8;
    expect_error(EINVAL, without.set_params(integrity_params(block)), "everything wrong");
    const auto with = driver.make({.flags = integrity});
    expect_error(EINVAL, with.set_params(integrity_params(block)), "everything but the feature wrong");
    expect_ok(with.set_params(integrity_params(sound_integrity)), "nothing wrong");
}

CASE("UBLK-PARAM-INT-011", behaviour,
     "Protection of long intervals asks for no more alignment of memory than none does", needs(integrity))
{
    const auto alignment = [](const Params& params, Features flags) {
        Driver driver;
        const Live live(driver, params, {.flags = flags});
        return sysfs_number(live.device, "queue/dma_alignment");
    };
    auto plain = basic_params();
    plain.basic.logical_bs_shift = 12;
    const auto without = alignment(plain, Feature::user_copy);
    // Before 7.1 an interval had to lie in one piece of memory.
    expect_eq(kernel_version() >= uapi::KernelVersion{7, 1} ? without : 4095U,
              alignment(with_blocks(12, with_interval(12)), integrity), "dma_alignment");
}

} // namespace conformance
