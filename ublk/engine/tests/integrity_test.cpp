// Metadata on its way between the driver and a backend that keeps it.
#include "ublk/engine/device_options.hpp"
#include "ublk/engine/parameters.hpp"
#include "ublk/engine/paranoid.hpp"
#include "ublk/engine/queue_runner.hpp"
#include "ublk/engine/testing/fake_queue.hpp"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ublk::engine {
namespace {

using testing::FakeFaults;
using testing::FakeQueue;
using ::testing::HasSubstr;
using uapi::IoFlag;
using uapi::IoOp;

constexpr Integrity t10{.interval = 512,
                        .metadata_bytes = 8,
                        .tag_bytes = 2,
                        .checksum = uapi::PiChecksum::crc16_t10dif,
                        .reference_tags = true};

// Keeps the metadata of the last write, and gives it to every read.
struct Keeper {
    static constexpr bool serves_integrity = true;
    Integrity integrity = t10;
    std::vector<std::byte> kept{};
    unsigned asked = 0, with_metadata = 0;

    Geometry geometry() const { return {.size = 1 << 20, .block_size = 512, .integrity = integrity}; }
    std::int32_t handle(Io& io) noexcept
    {
        ++asked;
        const auto metadata = io.metadata(integrity);
        with_metadata += metadata.empty() ? 0U : 1U;
        if (io.op == IoOp::write)
            kept.assign(metadata.begin(), metadata.end());
        else
            std::ranges::copy(std::span(kept).first(std::min(kept.size(), metadata.size())),
                              metadata.begin());
        return static_cast<std::int32_t>(io.data.size());
    }
};
static_assert(ServesIntegrity<Keeper> && Backend<Keeper>);

uapi::IoDesc request(IoOp op, std::uint32_t sectors, uapi::IoFlags flags = IoFlag::integrity)
{
    return {.op_flags = static_cast<std::uint32_t>(op) | flags.raw(), .nr_sectors = sectors};
}

QueueEnd run(FakeQueue& queue, Keeper& backend)
{
    queue.refuse_short_reads();
    QueueRunner runner(queue, backend, 0, Paranoid(queue.depth(), make_params(backend.geometry(), 8192)));
    runner.arm();
    return runner.run();
}

TEST(Metadata, OfAWriteReachesTheBackendAndThatOfAReadTheDriver)
{
    Keeper backend;
    std::vector<std::byte> data(4096), written(64, std::byte{0x5a}), read(64);
    for (const bool reads : {false, true}) {
        FakeQueue queue(1, {}, 1);
        queue.offer(request(reads ? IoOp::read : IoOp::write, 8), data, reads ? read : written);
        EXPECT_EQ(run(queue, backend).code, 0);
        EXPECT_TRUE(queue.violations().empty()) << queue.violations().front();
        EXPECT_EQ(queue.plan()[0].results.at(0), 4096);
    }
    EXPECT_EQ(backend.kept, written);
    EXPECT_EQ(read, written);
}

TEST(Metadata, IsNotLookedForWhereTheRequestHasNone)
{
    Keeper backend;
    std::vector<std::byte> data(4096);
    FakeQueue queue(1, {}, 1);
    queue.offer(request(IoOp::write, 8, {}), data);
    queue.offer(request(IoOp::read, 8, {}), data);
    EXPECT_EQ(run(queue, backend).code, 0);
    EXPECT_TRUE(queue.violations().empty());
    EXPECT_EQ(backend.asked, 2U);
    EXPECT_EQ(backend.with_metadata, 0U);
}

TEST(Metadata, ThatCannotBeMovedFailsItsRequestAndNoOther)
{
    for (const auto op : {IoOp::write, IoOp::read}) {
        Keeper backend;
        std::vector<std::byte> data(512), metadata(8);
        bool failing = true;
        FakeFaults faults;
        faults.no_metadata = [&](std::uint16_t) { return std::exchange(failing, false) ? -EFAULT : 0; };
        FakeQueue queue(1, {}, 1, std::move(faults));
        queue.offer(request(op, 1), data, metadata);
        queue.offer(request(op, 1), data, metadata);
        EXPECT_EQ(run(queue, backend).code, 0);
        EXPECT_EQ(queue.plan()[0].results.at(0), -EFAULT);
        EXPECT_EQ(queue.plan()[1].results.at(0), 512);
        EXPECT_EQ(backend.asked, op == IoOp::write ? 1U : 2U) << "what did not arrive is not written";
    }
}

TEST(Metadata, BeyondTheBufferIsAnErrorAndNothingIsMoved)
{
    Keeper backend;
    backend.integrity.metadata_bytes = FakeQueue::metadata_bytes / 16 + 1; // sixteen of them have no room
    std::vector<std::byte> data(8192), metadata(16 * std::size_t{backend.integrity.metadata_bytes});
    FakeQueue queue(1, {}, 1);
    queue.offer(request(IoOp::write, 16), data, metadata);
    EXPECT_EQ(run(queue, backend).code, 0);
    EXPECT_EQ(queue.plan()[0].results.at(0), -EIO);
    EXPECT_EQ(backend.asked, 0U);
}

TEST(Metadata, ThatWasNotAnnouncedIsAViolation)
{
    const auto report = [](const uapi::IoDesc& desc, const Integrity& announced) {
        Keeper backend;
        std::vector<std::byte> data(4096), metadata(64);
        FakeQueue queue(1, {}, 1);
        queue.offer(desc, data, metadata);
        backend.integrity = announced;
        return run(queue, backend).report;
    };
    EXPECT_THAT(report(request(IoOp::read, 8), {}), HasSubstr("not announced"));
    EXPECT_EQ(report(request(IoOp::read, 8), t10), "");
}

TEST(Metadata, OfADeviceIsReadBackFromItsParameters)
{
    const Integrity strange{.interval = 1024,
                            .metadata_bytes = 64,
                            .pi_offset = 48,
                            .tag_bytes = 6,
                            .checksum = uapi::PiChecksum::crc64_nvme,
                            .reference_tags = false};
    for (const auto& integrity :
         {t10, strange, Integrity{.interval = 512, .metadata_bytes = 3}, Integrity{}}) {
        const auto params = make_params({.size = 1 << 20, .block_size = 4096, .integrity = integrity}, 65536);
        EXPECT_EQ(integrity_of(params), integrity);
    }
    const auto params = make_params({.size = 1 << 20, .block_size = 512, .integrity = t10}, 65536);
    EXPECT_EQ(params.integrity.flags, uapi::pi_cap_integrity | uapi::pi_cap_reftag);
    EXPECT_EQ(params.integrity.interval_exp, 9);
    EXPECT_EQ(strange.bytes_of(65536), 4096U);
    EXPECT_EQ(Integrity{}.bytes_of(65536), 0U);
}

struct WrongRow {
    DeviceOptions options;
    Integrity integrity;
    const char* named;
};

TEST(Metadata, ThatNoDeviceCanHaveIsRefused)
{
    using Checksum = uapi::PiChecksum;
    const ServingOptions user_copy{.data_path = DataPath::user_copy};
    const DeviceOptions good{.integrity = true, .serving = user_copy};
    const auto with = [](auto change) {
        Integrity integrity = t10;
        change(integrity);
        return integrity;
    };
    const std::vector<WrongRow> rows{
        {{.integrity = true}, t10, "integrity with the data path copy"},
        {{.integrity = true, .serving = {.data_path = DataPath::auto_buf}}, t10, "auto-buf"},
        {{.zoned = true, .integrity = true, .serving = user_copy}, t10, "zoned"},
        {{.serving = user_copy}, t10, "a backend with metadata"},
        {good, {}, "keeps no metadata"},
        {good, with([](auto& one) { one.interval = 768; }), "768"},
        {good, with([](auto& one) { one.interval = 256; }), "256"},
        {good, with([](auto& one) { one.interval = 8192; }), "8192"},
        {good, with([](auto& one) { one.metadata_bytes = 0; }), "0 bytes of metadata"},
        {good, with([](auto& one) { one.pi_offset = 1; }), "8 bytes of metadata"},
        {good, with([](auto& one) { one.checksum = Checksum::crc64_nvme; }), "at least 16"},
        {good, with([](auto& one) { one.checksum = Checksum::none; }), "reference tags"},
    };
    for (const auto& row : rows) {
        const auto checked =
            validate(row.options, {.size = 1 << 20, .block_size = 4096, .integrity = row.integrity}, false);
        ASSERT_FALSE(checked) << row.named;
        EXPECT_EQ(checked.error().code, EINVAL);
        EXPECT_THAT(checked.error().message(), HasSubstr(row.named));
        EXPECT_FALSE(checked.error().hint.empty());
    }
    const Geometry geometry{.size = 1 << 20, .block_size = 4096, .integrity = t10};
    EXPECT_TRUE(validate(good, geometry, false));
    const auto lacking = validate(good, geometry, false, uapi::Features::from_raw(0x7fff)); // of 6.17
    ASSERT_FALSE(lacking);
    EXPECT_EQ(lacking.error().code, EOPNOTSUPP);
    EXPECT_THAT(lacking.error().message(), HasSubstr("does not offer INTEGRITY"));
}

} // namespace
} // namespace ublk::engine
