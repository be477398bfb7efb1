// Requests whose payload lies in memory that an application shares, and those beside them.
#include "ublk/engine/device_options.hpp"
#include "ublk/engine/observers.hpp"
#include "ublk/engine/parameters.hpp"
#include "ublk/engine/testing/fake_queue.hpp"

#include <algorithm>
#include <array>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ublk::engine {
namespace {

using ::testing::Each;
using testing::FakeQueue;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using uapi::IoFlag;
using uapi::IoOp;

// The driver in memory, with registered memory.
struct SharingQueue : FakeQueue {
    explicit SharingQueue(std::uint16_t depth = 1) : FakeQueue(depth, {}, 1) {}
    static constexpr bool copies() noexcept { return true; }
    std::span<std::byte> payload(std::uint16_t tag, const uapi::IoDesc& desc) noexcept
    {
        return desc.flags().has(IoFlag::shmem_zc) ? find_shared(shared, desc.addr) : buffer(tag);
    }
    SharedMemory shared;
};
static_assert(QueueDriver<SharingQueue> && SharesMemory<SharingQueue> && !SharesMemory<FakeQueue>);

// Keeps what is written and where it lay; reads are filled with 0x7e.
struct Keeper {
    std::vector<std::byte> kept{};
    const std::byte* place = nullptr;
    std::int32_t most = INT32_MAX; // bytes of an answer
    unsigned asked = 0;

    std::int32_t handle(Io& io) noexcept
    {
        ++asked;
        place = io.data.data();
        if (io.op == IoOp::write)
            kept.assign(io.data.begin(), io.data.end());
        else
            std::ranges::fill(io.data, std::byte{0x7e});
        return std::min(most, static_cast<std::int32_t>(io.data.size()));
    }
};
struct Careless : Keeper {
    static constexpr bool ignores_payload = true;
};

uapi::IoDesc in_shared(IoOp op, std::uint32_t sectors, std::uint64_t addr)
{
    return {.op_flags = static_cast<std::uint32_t>(op) | static_cast<std::uint32_t>(IoFlag::shmem_zc),
            .nr_sectors = sectors,
            .addr = addr};
}

const uapi::Params params = make_params({.size = 1 << 20, .block_size = 512}, 8192);

template <typename B>
QueueEnd run(SharingQueue& queue, B& backend, observe::QueueMetrics* metrics = nullptr)
{
    observe::QueueMetrics unused;
    QueueRunner runner(queue, backend, 0, Counting(metrics != nullptr ? *metrics : unused));
    runner.arm();
    return runner.run();
}

TEST(FindShared, GivesTheRestOfTheMappingFromThereOn)
{
    std::array<std::byte, 8192> first{};
    std::array<std::byte, 4096> second{};
    const SharedMemory both{first, second};
    struct Row {
        std::uint64_t addr;
        const std::byte* place;
        std::size_t bytes;
    };
    constexpr std::uint64_t index1 = 1ULL << 32;
    for (const auto& [addr, place, bytes] :
         {Row{0, first.data(), 8192}, Row{512, &first[512], 7680}, Row{8191, &first[8191], 1},
          Row{8192, nullptr, 0}, Row{UINT32_MAX, nullptr, 0}, Row{index1, second.data(), 4096},
          Row{index1 + 4095, &second[4095], 1}, Row{index1 + 4096, nullptr, 0}, Row{2 * index1, nullptr, 0},
          Row{1ULL << 48, nullptr, 0}, Row{UINT64_MAX, nullptr, 0}}) {
        const auto found = find_shared(both, addr);
        EXPECT_EQ(found.size(), bytes) << addr;
        EXPECT_EQ(found.data(), place) << addr;
    }
    EXPECT_TRUE(find_shared({}, 0).empty());
}

TEST(SharedMemory, IsWhereTheBackendReadsAndWrites)
{
    std::vector<std::byte> memory(8192, std::byte{1}), other(4096, std::byte{2});
    SharingQueue queue;
    queue.shared = {memory, other};
    queue.offer(in_shared(IoOp::write, 8, 1ULL << 32));
    queue.offer(in_shared(IoOp::read, 2, 1024));
    Keeper backend;
    observe::QueueMetrics metrics;
    EXPECT_EQ(run(queue, backend, &metrics).code, 0);
    EXPECT_EQ(backend.kept, other);
    EXPECT_EQ(backend.place, &memory[1024]) << "of the read, and nothing was copied";
    EXPECT_THAT(std::span(memory).subspan(1024, 1024), Each(std::byte{0x7e}));
    EXPECT_THAT(std::span(memory).first(1024), Each(std::byte{1}));
    EXPECT_THAT(std::span(memory).subspan(2048), Each(std::byte{1}));
    EXPECT_EQ(queue.plan()[0].results.at(0), 4096);
    EXPECT_EQ(queue.plan()[1].results.at(0), 1024);
    EXPECT_EQ(metrics.shared, 2U);
    EXPECT_TRUE(queue.violations().empty());
}

TEST(SharedMemory, LeavesAllOtherRequestsToTheTagsBuffer)
{
    std::vector<std::byte> memory(8192, std::byte{1}), pages(4096, std::byte{3}), back(4096);
    SharingQueue queue;
    queue.shared = {memory};
    queue.offer({.op_flags = static_cast<std::uint32_t>(IoOp::write), .nr_sectors = 8}, pages);
    queue.offer({.op_flags = static_cast<std::uint32_t>(IoOp::read), .nr_sectors = 8}, back);
    Keeper backend;
    observe::QueueMetrics metrics;
    EXPECT_EQ(run(queue, backend, &metrics).code, 0);
    EXPECT_EQ(backend.kept, pages);
    EXPECT_EQ(backend.place, queue.buffer(0).data());
    EXPECT_THAT(back, Each(std::byte{0x7e}));
    EXPECT_THAT(memory, Each(std::byte{1}));
    EXPECT_EQ(metrics.shared, 0U);
}

template <typename B>
void expect_never_followed()
{
    std::vector<std::byte> memory(8192);
    for (const std::uint64_t addr : {8192ULL, 4608ULL, 1ULL << 32, 1ULL << 48, ~0ULL}) {
        for (const auto op : {IoOp::read, IoOp::write}) {
            SharingQueue queue;
            queue.shared = {memory};
            queue.offer(in_shared(op, 8, addr));
            queue.offer(in_shared(op, 8, 4096));
            B backend;
            observe::QueueMetrics metrics;
            EXPECT_EQ(run(queue, backend, &metrics).code, 0);
            EXPECT_EQ(queue.plan()[0].results.at(0), -EIO) << addr;
            EXPECT_EQ(queue.plan()[1].results.at(0), 4096) << "the next one is as good as any";
            EXPECT_EQ(backend.asked, 1U);
            EXPECT_EQ(metrics.shared, 1U);
        }
    }
}

TEST(SharedMemory, IsNeverLeft)
{
    expect_never_followed<Keeper>();
    expect_never_followed<Careless>();
}

TEST(SharedMemory, ThatIsLeftIsAViolation)
{
    const auto report = [](const uapi::IoDesc& desc, uapi::Features features) {
        std::vector<std::byte> memory(8192);
        SharingQueue queue;
        queue.shared = {memory};
        queue.offer(desc);
        Keeper backend;
        QueueRunner runner(queue, backend, 0, Paranoid(1, params, features));
        runner.arm();
        return runner.run().report;
    };
    const uapi::Features offered = uapi::Feature::shmem_zc;
    EXPECT_EQ(report(in_shared(IoOp::read, 8, 4096), offered), "");
    for (const std::uint64_t addr : {4608ULL, 8192ULL, 1ULL << 32})
        EXPECT_THAT(report(in_shared(IoOp::read, 8, addr), offered),
                    HasSubstr("outside of the shared memory"));
    EXPECT_THAT(report(in_shared(IoOp::read, 8, 0), {}), HasSubstr("not announced"));
}

// The driver would take it for the whole.
TEST(SharedMemory, TakesNoPartOfARead)
{
    std::vector<std::byte> memory(8192), pages(4096);
    SharingQueue queue;
    queue.shared = {memory};
    queue.offer(in_shared(IoOp::read, 8, 0));
    queue.offer({.op_flags = static_cast<std::uint32_t>(IoOp::read), .nr_sectors = 8}, pages);
    Keeper backend{.most = 512};
    EXPECT_EQ(run(queue, backend).code, 0);
    EXPECT_EQ(queue.plan()[0].results.at(0), -EIO);
    EXPECT_EQ(queue.plan()[1].results.at(0), 512) << "which the driver asks for the rest of";
}

TEST(SharedMemory, OfADeviceIsRefusedWhereItMakesNoSense)
{
    alignas(4096) static std::array<std::byte, 8192> memory;
    const std::span<std::byte> all(memory);
    const auto serving = [](SharedMemory shared, DataPath path = DataPath::shmem) {
        return ServingOptions{.data_path = path, .shared = std::move(shared)};
    };
    struct Row {
        DeviceOptions options;
        const char* named;
    };
    auto batch = serving({all});
    batch.batch = true;
    for (const auto& [options, named] :
         {Row{{.serving = serving({})}, "with 0 mappings"},
          Row{{.serving = serving({all}, DataPath::copy)}, "the data path copy"},
          Row{{.serving = serving({all.first(5000)})}, "5000 bytes"},
          Row{{.serving = serving({all.subspan(512, 4096)})}, "whole pages"},
          Row{{.serving = serving({all.first(0)})}, "0 bytes"}, Row{{.serving = batch}, "batches"},
          Row{{.recovery = Recovery::wait, .serving = serving({all})}, "recovery"},
          Row{{.zoned = true, .serving = serving({all})}, "zones"}}) {
        const auto checked = validate(options, {.size = 1 << 20, .block_size = 512}, false);
        ASSERT_FALSE(checked) << named;
        EXPECT_EQ(checked.error().code, EINVAL);
        EXPECT_THAT(checked.error().message(), HasSubstr(named));
        EXPECT_THAT(checked.error().hint, ::testing::Not(IsEmpty()));
    }
    const DeviceOptions good{.serving = serving({all, all})};
    EXPECT_TRUE(validate(good, {.size = 1 << 20, .block_size = 512}, false));
    const auto lacking =
        validate(good, {.size = 1 << 20, .block_size = 512}, false, uapi::Features::from_raw(0x7ffff)); // 7.0
    ASSERT_FALSE(lacking);
    EXPECT_THAT(lacking.error().message(), HasSubstr("does not offer SHMEM_ZC"));
}

} // namespace
} // namespace ublk::engine
