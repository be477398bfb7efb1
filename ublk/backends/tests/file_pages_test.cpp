#include "ublk/backends/file_pages.hpp"

#include "ublk/backends/file.hpp"
#include "ublk/backends/memory.hpp"
#include "ublk/backends/tests/disk.hpp"
#include "ublk/backends/tests/immediate_ring.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace ublk::backends {
namespace {

constexpr std::uint64_t page = 4096;
// More pages than a word has bits, and an end inside of a page.
constexpr std::uint64_t size = 131 * page + 512;

// A sparse file on tmpfs.
struct InMemory {
    InMemory() : fd(::memfd_create("pages", MFD_CLOEXEC)) { EXPECT_EQ(::ftruncate(fd, size), 0); }
    ~InMemory() { ::close(fd); }
    InMemory(const InMemory&) = delete;
    InMemory& operator=(const InMemory&) = delete;
    FileOptions options() const { return {.path = "/proc/self/fd/" + std::to_string(fd)}; }
    std::int64_t blocks() const
    {
        struct stat status{};
        EXPECT_EQ(::fstat(fd, &status), 0);
        return status.st_blocks;
    }
    void put(std::uint64_t offset, std::size_t bytes) const
    {
        const std::vector<std::byte> data(bytes, std::byte{7});
        EXPECT_EQ(::pwrite(fd, data.data(), bytes, static_cast<off_t>(offset)), std::ssize(data));
    }
    int fd;
};

// Serves requests at the backend's places, as the engine does where it can.
template <typename B>
struct Placed {
    B& backend;
    unsigned placed = 0;

    std::int32_t handle(engine::Io& io) noexcept
    {
        io.flags = io.flags.without(uapi::IoFlag::nounmap); // tmpfs zeroes in one way only
        const auto buffer = io.data;
        const auto place = engine::carries_data(io.op) ? backend.place(io) : std::span<std::byte>();
        if (place.empty())
            return backend.handle(io);
        ++placed;
        EXPECT_EQ(place.size(), buffer.size());
        if (io.op == uapi::IoOp::write)
            std::ranges::copy(buffer, place.begin());
        io.data = place;
        const std::int32_t answer = backend.handle(io);
        if (io.op == uapi::IoOp::read)
            std::ranges::copy(place, buffer.begin());
        return answer;
    }
};

TEST(FilePages, AreThoseThatTheFileHas)
{
    const InMemory file;
    file.put(3 * page, 100);
    file.put(63 * page, 3 * page);
    file.put(size - 1, 1);
    const auto pages = FilePages::map(file.fd, size, false);
    struct Row {
        std::uint64_t offset, length;
        bool there;
    };
    for (const auto& [offset, length, there] :
         {Row{0, 512, false}, Row{3 * page, page, true}, Row{3 * page + 512, 512, true},
          Row{3 * page + 512, page, false}, Row{2 * page, 2 * page, false}, Row{63 * page, 3 * page, true},
          Row{62 * page, 4 * page, false}, Row{63 * page, 4 * page, false}, Row{64 * page, 0, false},
          Row{131 * page, 512, true}, Row{130 * page, page + 512, false}, Row{0, size, false}}) {
        const auto found = pages.find({offset, length});
        EXPECT_EQ(found.size(), there ? length : 0) << offset << ", " << length;
        EXPECT_EQ(pages.holds(found.data()), there) << offset << ", " << length;
    }
    EXPECT_EQ(pages.find({3 * page, 1})[0], std::byte{7});
}

TEST(FilePages, FollowWhatIsWrittenAndDiscarded)
{
    const InMemory file;
    auto pages = FilePages::map(file.fd, size, false);
    pages.written({page + 512, 512});
    EXPECT_FALSE(pages.find({page, page}).empty());
    EXPECT_TRUE(pages.find({page, page + 512}).empty());
    pages.written({0, size});
    EXPECT_FALSE(pages.find({0, size}).empty());
    pages.discard({page + 512, page}); // no page wholly
    EXPECT_FALSE(pages.find({0, size}).empty());
    pages.discard({60 * page + 1, 10 * page});
    EXPECT_FALSE(pages.find({0, 61 * page}).empty());
    EXPECT_TRUE(pages.find({61 * page, 512}).empty());
    EXPECT_TRUE(pages.find({69 * page, 512}).empty());
    EXPECT_FALSE(pages.find({70 * page, size - 70 * page}).empty());
    pages.discard({0, size});
    EXPECT_TRUE(pages.find({0, 512}).empty());
}

TEST(FilePages, AreNoneOfAFileThatMayHaveToWaitForADisk)
{
    const wire::Fd disk(::open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!disk || ::ftruncate(disk.get(), size) != 0)
        GTEST_SKIP() << "needs a directory that takes files without a name";
    auto pages = FilePages::map(disk.get(), size, false);
    pages.written({0, size});
    pages.discard({0, size});
    EXPECT_FALSE(pages.any());
    EXPECT_FALSE(pages.holds(nullptr));
}

TEST(Placing, AgreesWithAnArray)
{
    for (std::uint32_t seed = 0; seed < 8; ++seed) {
        const InMemory synchronous, asynchronous;
        auto file = File::open(synchronous.options());
        auto async = AsyncFile::open(asynchronous.options());
        auto memory = Memory::create(size, 512);
        ASSERT_TRUE(file && async && memory);
        Placed on_file{*file};
        testing::agrees_with_an_array(on_file, size, seed, 300);
        testing::ImmediateRing ring;
        testing::Served served{*async, ring};
        Placed on_async{served};
        testing::agrees_with_an_array(on_async, size, seed, 300);
        Placed on_memory{*memory};
        testing::agrees_with_an_array(on_memory, size, seed, 300);
        EXPECT_GT(on_file.placed, 20U);
        EXPECT_EQ(on_async.placed, on_file.placed);
        EXPECT_GT(on_memory.placed, on_file.placed) << "memory has a place for holes as well";
    }
}

TEST(Placing, ReadsHolesWithoutFillingThem)
{
    const InMemory sparse;
    auto file = File::open(sparse.options());
    ASSERT_TRUE(file.has_value());
    Placed placed{*file};
    std::vector<std::byte> data(size);
    EXPECT_EQ(testing::ask(placed, uapi::IoOp::read, 0, data), static_cast<std::int32_t>(size));
    EXPECT_EQ(sparse.blocks(), 0);
}

TEST(Placing, HasNoPlaceForWhatIsRefused)
{
    const InMemory sparse;
    sparse.put(0, page);
    auto options = sparse.options();
    options.read_only = true;
    auto file = File::open(options);
    ASSERT_TRUE(file.has_value());
    const auto at = [](uapi::IoOp op, std::uint64_t sector) {
        return engine::Io{.op = op, .start_sector = sector, .nr_sectors = 8};
    };
    EXPECT_FALSE(file->place(at(uapi::IoOp::read, 0)).empty());
    EXPECT_TRUE(file->place(at(uapi::IoOp::write, 0)).empty());
    EXPECT_TRUE(file->place(at(uapi::IoOp::read, size / 512)).empty());
    EXPECT_TRUE(file->place(at(uapi::IoOp::read, UINT64_MAX)).empty());
}

} // namespace
} // namespace ublk::backends
