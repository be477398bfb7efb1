#include "ublk/observe/ring.hpp"

#include <gtest/gtest.h>
#include <thread>
#include <vector>

namespace ublk::observe {
namespace {

TEST(BoundedRing, GivesBackWhatItTookInOrderAndRefusesMoreThanItHolds)
{
    BoundedRing<int> ring(4);
    int value = 0;
    for (int round = 0; round < 10; ++round) {
        EXPECT_FALSE(ring.pop(value));
        for (int i = 0; i < 4; ++i)
            ASSERT_TRUE(ring.push(round * 10 + i));
        EXPECT_FALSE(ring.push(99));
        for (int i = 0; i < 4; ++i) {
            ASSERT_TRUE(ring.pop(value));
            ASSERT_EQ(value, round * 10 + i);
        }
    }
}

TEST(BoundedRing, HoldsAPowerOfTwo)
{
    EXPECT_EQ(BoundedRing<int>(1).capacity(), 1U);
    EXPECT_EQ(BoundedRing<int>(5).capacity(), 8U);
}

TEST(BoundedRing, LosesAndRepeatsNothingOfManyWriters)
{
    struct Value {
        unsigned writer = 0, number = 0;
    };
    constexpr unsigned writers = 4, each = 20000;
    BoundedRing<Value> ring(64);
    std::vector<std::jthread> threads;
    for (unsigned writer = 0; writer < writers; ++writer)
        threads.emplace_back([&ring, writer] {
            for (unsigned number = 0; number < each;) {
                if (ring.push({writer, number}))
                    ++number;
                else
                    std::this_thread::yield();
            }
        });
    std::vector<unsigned> next(writers, 0);
    Value value;
    for (unsigned taken = 0; taken < writers * each;) {
        if (!ring.pop(value)) {
            std::this_thread::yield();
            continue;
        }
        ++taken;
        ASSERT_LT(value.writer, writers);
        ASSERT_EQ(value.number, next[value.writer]) << "of writer " << value.writer;
        ++next[value.writer];
    }
    EXPECT_FALSE(ring.pop(value));
}

} // namespace
} // namespace ublk::observe
