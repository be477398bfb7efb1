// A program of its own: it replaces operator new to count what the queue loop allocates.
#include "ublk/engine/queue_runner.hpp"
#include "ublk/engine/testing/fake_queue.hpp"

#include <cstdlib>
#include <gtest/gtest.h>
#include <new>

namespace {
thread_local std::size_t allocations = 0;
}

// Not inlined: the compiler would see malloc() meet operator delete.
[[gnu::noinline]] void* operator new(std::size_t bytes)
{
    ++allocations;
    if (void* memory = std::malloc(bytes))
        return memory;
    throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept
{
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept
{
    std::free(memory);
}

namespace ublk::engine {
namespace {

struct FullBackend {
    std::int32_t handle(Io& io) noexcept { return static_cast<std::int32_t>(io.data.size()); }
};

TEST(QueueRunner, AllocatesNothingOnceItIsMade)
{
    constexpr uapi::IoDesc read{.op_flags = 0, .nr_sectors = 8, .start_sector = 0, .addr = 0};
    testing::FakeQueue queue(32, std::vector(1000, read), 1);
    FullBackend backend;
    const std::size_t before_making = allocations;
    QueueRunner runner(queue, backend, 0);
    const std::size_t before = allocations;
    ASSERT_GT(before, before_making) << "the counter counts";
    ASSERT_EQ(runner.arm(), 0);
    const QueueEnd end = runner.run();
    EXPECT_EQ(allocations, before);
    EXPECT_EQ(end.requests, queue.plan().size());
}

} // namespace
} // namespace ublk::engine
