// A backend of one's own, and its test: no root, no kernel, no virtual machine.
#include "ublk/engine/testing/fake_disk.hpp"

#include <gtest/gtest.h>

// A disk in memory that keeps every byte inverted.
class Inverted {
  public:
    ublk::engine::Geometry geometry() const { return {.size = bytes_.size(), .block_size = 512}; }

    std::int32_t handle(ublk::engine::Io& io) noexcept
    {
        const auto range = ublk::engine::byte_range(io, bytes_.size());
        if (!range)
            return range.error();
        const auto place = bytes_.begin() + static_cast<std::ptrdiff_t>(range->offset);
        if (io.op == ublk::uapi::IoOp::write)
            std::ranges::transform(io.data, place, std::bit_not());
        else
            std::transform(place, place + std::ssize(io.data), io.data.begin(), std::bit_not());
        return static_cast<std::int32_t>(io.data.size());
    }

  private:
    std::vector<std::byte> bytes_ = std::vector<std::byte>(1 << 20);
};

TEST(Inverted, GivesBackWhatWasWritten)
{
    Inverted backend;
    ublk::engine::testing::FakeDisk disk(backend);
    const std::vector<std::byte> data(100 * 512, std::byte{0x5a});
    std::vector<std::byte> back(data.size());
    EXPECT_EQ(disk.write(4096, data), 0);
    EXPECT_EQ(disk.read(4096, back), 0);
    EXPECT_EQ(back, data);
}
