// A backend that is wrong in one way, around one that is right.
#pragma once

#include "ublk/engine/io.hpp"
#include "ublk/serve/broken/fault.hpp"

#include <algorithm>
#include <mutex>
#include <optional>
#include <vector>

namespace ublk::serve::broken {

template <engine::Backend B>
class BrokenBackend {
  public:
    BrokenBackend(B& honest, Fault fault) : honest_(honest), fault_(fault) {}

    engine::Geometry geometry() const
    {
        auto geometry = honest_.geometry();
        if (fault_ == Fault::too_large)
            geometry.size += page;
        return geometry;
    }

    // One at a time: what is wrong here is not the locking.
    std::int32_t handle(engine::Io& io) noexcept
    {
        using enum uapi::IoOp;
        const std::scoped_lock lock(mutex_);
        std::int32_t result = 0;
        switch (io.op) {
        case read:
            result = handle_read(io);
            break;
        case write:
            result = handle_write(io);
            break;
        case flush:
            result = fault_ == Fault::drop_flush ? 0 : honest_.handle(io);
            break;
        case discard:
            result = handle_discard(io);
            break;
        case write_zeroes:
            result = fault_ == Fault::leave_data_on_zeroes ? 0 : honest_.handle(io);
            break;
        default:
            result = honest_.handle(io);
        }
        if (result < 0 && fault_ == Fault::hide_errors)
            return static_cast<std::int32_t>(io.data.size());
        return result;
    }

  private:
    static constexpr std::size_t page = 4096, large = 32 * 1024;
    static constexpr std::uint32_t page_sectors = page >> uapi::sector_shift;

    static bool now_and_then(std::uint64_t& count) { return ++count % 40 == 0; }

    std::int32_t handle_read(engine::Io& io)
    {
        auto asked = io;
        if (fault_ == Fault::swap_tags) {
            if (now_and_then(reads_) && last_read_ && last_read_->start_sector != io.start_sector &&
                last_read_->start_sector + io.nr_sectors <= honest_.geometry().size >> uapi::sector_shift)
                asked.start_sector = last_read_->start_sector;
            last_read_ = io;
            return honest_.handle(asked);
        }
        const auto result = honest_.handle(io);
        if (fault_ == Fault::stale_read && holds_all_of(io) && now_and_then(reads_))
            std::ranges::copy(old_data(io), io.data.begin());
        if (fault_ == Fault::acknowledge_early)
            catch_up();
        return result;
    }

    std::int32_t handle_write(engine::Io& io)
    {
        const auto all = static_cast<std::int32_t>(io.data.size());
        auto done = io;
        switch (fault_) {
        case Fault::lose_write:
            return now_and_then(writes_) ? all : honest_.handle(io);
        case Fault::drop_fua:
            done.flags = {};
            return honest_.handle(done);
        case Fault::short_as_full:
            if (io.data.size() < large)
                return honest_.handle(io);
            cut(done, 0, io.data.size() / 2 / page * page);
            return honest_.handle(done) < 0 ? -EIO : all;
        case Fault::sector_off:
            if (now_and_then(writes_) &&
                io.start_sector + io.nr_sectors < honest_.geometry().size >> uapi::sector_shift)
                done.start_sector += 1;
            return honest_.handle(done);
        case Fault::tear_large_write:
            return io.data.size() < large ? honest_.handle(io) : tear(io);
        case Fault::corrupt_byte:
            if (now_and_then(writes_))
                io.data[io.data.size() / 2 + 100] ^= std::byte{1};
            return honest_.handle(io);
        case Fault::stale_read:
            remember(io);
            return honest_.handle(io);
        case Fault::acknowledge_early:
            catch_up();
            late_ = io;
            late_data_.assign(io.data.begin(), io.data.end());
            return all;
        default:
            return honest_.handle(io);
        }
    }

    std::int32_t handle_discard(engine::Io& io)
    {
        if (fault_ == Fault::ignore_discard)
            return 0;
        auto done = io;
        if (fault_ == Fault::discard_too_much && io.start_sector >= page_sectors) {
            done.start_sector -= page_sectors;
            done.nr_sectors += page_sectors;
        }
        return honest_.handle(done);
    }

    static void cut(engine::Io& io, std::size_t offset, std::size_t bytes)
    {
        io.start_sector += offset >> uapi::sector_shift;
        io.nr_sectors = static_cast<std::uint32_t>(bytes >> uapi::sector_shift);
        io.data = io.data.subspan(offset, bytes);
    }

    std::int32_t tear(const engine::Io& io)
    {
        const auto gap = io.data.size() / 2 / page * page;
        auto before = io, after = io;
        cut(before, 0, gap);
        cut(after, gap + page, io.data.size() - gap - page);
        if (honest_.handle(before) < 0 || honest_.handle(after) < 0)
            return -EIO;
        return static_cast<std::int32_t>(io.data.size());
    }

    // What a write is about to replace.
    void remember(const engine::Io& io)
    {
        old_.resize(io.data.size());
        old_write_ = io;
        auto before = io;
        before.op = uapi::IoOp::read;
        before.data = old_;
        if (honest_.handle(before) < 0)
            old_write_.reset();
    }
    bool holds_all_of(const engine::Io& io) const
    {
        return old_write_ && io.start_sector >= old_write_->start_sector &&
               io.start_sector + io.nr_sectors <= old_write_->start_sector + old_write_->nr_sectors;
    }
    std::span<const std::byte> old_data(const engine::Io& io) const
    {
        const auto from = (io.start_sector - old_write_->start_sector) << uapi::sector_shift;
        return std::span<const std::byte>(old_).subspan(from, io.data.size());
    }

    void catch_up()
    {
        if (!late_)
            return;
        late_->data = late_data_;
        honest_.handle(*late_);
        late_.reset();
    }

    B& honest_;
    Fault fault_;
    std::mutex mutex_;
    std::uint64_t reads_ = 0, writes_ = 0;
    std::optional<engine::Io> last_read_, old_write_, late_;
    std::vector<std::byte> old_, late_data_;
};

} // namespace ublk::serve::broken
