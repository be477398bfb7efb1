#include "conformance/server/versioned_blocks.hpp"

#include "conformance/driver/driver.hpp"
#include "conformance/server/digest.hpp"

#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <span>

namespace conformance {

namespace {

struct Block {
    std::uint64_t number, version;
    std::byte filling[versioned_block_bytes - 16];
};
static_assert(sizeof(Block) == versioned_block_bytes);

using OwnedBlock = std::unique_ptr<Block, decltype(&std::free)>;

OwnedBlock make_block() // fit for O_DIRECT
{
    return {static_cast<Block*>(std::aligned_alloc(versioned_block_bytes, versioned_block_bytes)),
            &std::free};
}

void stamp(Block& block, std::uint64_t number, std::uint64_t version)
{
    block.number = number;
    block.version = version;
    fill(std::span(block.filling), number << 32 | version);
}

off_t offset_of(std::uint64_t number)
{
    return static_cast<off_t>(number * versioned_block_bytes);
}

} // namespace

class Writers::Writer {
  public:
    Writer(std::string disk, std::uint64_t first, std::uint64_t step, std::uint64_t seed)
        : disk_(std::move(disk)), first_(first), step_(step), random_(seed * step + first),
          acknowledged_(versioned_blocks), begun_(versioned_blocks)
    {
    }

    void start()
    {
        over_ = false;
        thread_ = std::thread([this] { run(); });
    }
    void tell_to_end() { over_ = true; }
    void join()
    {
        if (thread_.joinable())
            thread_.join();
    }
    std::uint64_t written() const { return written_; }
    std::uint64_t errors() const { return errors_; }

    std::optional<Wrong> first_wrong(int fd) const
    {
        const auto found = make_block(), wanted = make_block();
        for (std::uint64_t number = first_; number < versioned_blocks; number += step_) {
            if (begun_[number] == 0)
                continue;
            if (const long got = sys(::pread(fd, found.get(), versioned_block_bytes, offset_of(number)));
                got != static_cast<long>(versioned_block_bytes))
                return Wrong{fmt::format("block {} can be read", number), result_text(got)};
            if (found->version < acknowledged_[number] || found->version > begun_[number])
                return Wrong{fmt::format("block {} with a version from {} to {}", number,
                                         acknowledged_[number], begun_[number]),
                             fmt::format("version {}, number {}", found->version, found->number)};
            if (found->version == 0)
                continue;
            stamp(*wanted, number, found->version);
            if (std::memcmp(found.get(), wanted.get(), versioned_block_bytes) != 0)
                return Wrong{fmt::format("block {} is whole", number), "it is not what its version says"};
        }
        return std::nullopt;
    }

  private:
    void run()
    {
        constexpr unsigned pause_us = 1000; // who gets errors at once is not to keep a new server from coming
        const auto block = make_block();
        const auto fd = ublk::wire::open_node(disk_, O_RDWR | O_DIRECT);
        if (!fd)
            ++errors_;
        while (fd && !over_) {
            const std::uint64_t number = first_ + random_() % (versioned_blocks / step_) * step_;
            stamp(*block, number, ++begun_[number]);
            if (::pwrite(fd->get(), block.get(), versioned_block_bytes, offset_of(number)) ==
                static_cast<ssize_t>(versioned_block_bytes)) {
                acknowledged_[number] = begun_[number];
                ++written_;
            } else {
                ++errors_;
                ::usleep(pause_us);
            }
        }
    }

    std::string disk_;
    std::uint64_t first_, step_;
    std::mt19937_64 random_;
    std::vector<std::uint64_t> acknowledged_, begun_; // versions
    std::atomic<std::uint64_t> written_ = 0, errors_ = 0;
    std::atomic<bool> over_ = false;
    std::thread thread_;
};

Writers::Writers(const std::string& disk, unsigned threads, std::uint64_t seed)
{
    for (unsigned i = 0; i < threads; ++i)
        writers_.push_back(std::make_unique<Writer>(disk, i, threads, seed));
    go_on();
}

Writers::~Writers()
{
    pause();
}

void Writers::pause()
{
    for (const auto& writer : writers_)
        writer->tell_to_end();
    for (const auto& writer : writers_)
        writer->join();
}

void Writers::go_on()
{
    for (const auto& writer : writers_)
        writer->start();
}

std::uint64_t Writers::written() const
{
    std::uint64_t sum = 0;
    for (const auto& writer : writers_)
        sum += writer->written();
    return sum;
}

std::uint64_t Writers::errors() const
{
    std::uint64_t sum = 0;
    for (const auto& writer : writers_)
        sum += writer->errors();
    return sum;
}

bool Writers::write_more(std::uint64_t more) const
{
    const auto before = written();
    return eventually([&] { return written() >= before + more; }, 20s);
}

std::optional<Writers::Wrong> Writers::first_wrong(const std::string& path, int flags) const
{
    const auto fd = ublk::wire::open_node(path, flags);
    expect_true(fd.has_value(), path + " opens");
    for (const auto& writer : writers_)
        if (auto wrong = writer->first_wrong(fd->get()))
            return wrong;
    return std::nullopt;
}

void Writers::check(const std::string& path, int flags, Where where) const
{
    if (const auto wrong = first_wrong(path, flags))
        fail(fmt::format("{} holds {}", path, wrong->expected), wrong->observed, where);
    count_check();
}

} // namespace conformance
