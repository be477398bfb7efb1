#include "ublk/serve/shared_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

namespace ublk::serve {
namespace {

using ::testing::HasSubstr;

// A file in memory, by the name that it has in this process.
struct InMemory {
    explicit InMemory(off_t size) : fd(::memfd_create("shared", MFD_CLOEXEC))
    {
        EXPECT_EQ(::ftruncate(fd, size), 0);
    }
    ~InMemory() { ::close(fd); }
    InMemory(const InMemory&) = delete;
    InMemory& operator=(const InMemory&) = delete;
    std::string path() const { return "/proc/self/fd/" + std::to_string(fd); }
    int fd;
};

TEST(SharedFile, IsTheSameMemoryForWhoeverMapsIt)
{
    const InMemory memory(8192);
    auto opened = map_shared_file(memory.path());
    ASSERT_TRUE(opened.has_value()) << opened.error().message();
    const engine::Pages file = std::move(*opened);
    ASSERT_EQ(file.size(), 8192U);
    file.data()[5000] = std::byte{7};
    std::byte seen{};
    ASSERT_EQ(::pread(memory.fd, &seen, 1, 5000), 1);
    EXPECT_EQ(seen, std::byte{7});
}

TEST(SharedFile, RefusesWhatTheDriverCouldNotRegister)
{
    const InMemory odd(5000), empty(0);
    struct Row {
        std::string path;
        const char* named;
    };
    for (const auto& [path, named] :
         {Row{odd.path(), "it has 5000"}, Row{empty.path(), "it has 0"}, Row{"/dev/zero", "tmpfs"},
          Row{"/proc/self/status", ""}, Row{"/nonexistent/shared", "ENOENT"}, Row{"/", ""}}) {
        const auto opened = map_shared_file(path);
        ASSERT_FALSE(opened.has_value()) << path;
        EXPECT_THAT(opened.error().message(), HasSubstr("--shmem " + path));
        EXPECT_THAT(opened.error().message(), HasSubstr(named));
    }
}

} // namespace
} // namespace ublk::serve
