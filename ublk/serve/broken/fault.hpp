// Ways for a server to be wrong, for proving that a judge of servers sees them. Not built unless asked for.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace ublk::serve::broken {

enum class Fault : std::uint8_t {
    lose_write,
    drop_flush,
    drop_fua,
    swap_tags,
    short_as_full,
    sector_off,
    acknowledge_early,
    forget_tag,
    hide_errors,
    ignore_discard,
    discard_too_much,
    leave_data_on_zeroes,
    tear_large_write,
    corrupt_byte,
    stale_read,
    too_large,
    ignore_read_only,
    crash,
    exit_early,
    exit_with_error,
    leave_device,
    ignore_sigterm,
};

struct FaultRow {
    std::string_view name; // of --break
    Fault fault;
    std::string_view what;
};

inline constexpr std::array fault_table{
    FaultRow{"lose-write", Fault::lose_write, "now and then a write is acknowledged and dropped"},
    FaultRow{"drop-flush", Fault::drop_flush, "a flush is acknowledged and not passed on"},
    FaultRow{"drop-fua", Fault::drop_fua, "a FUA write is written without FUA"},
    FaultRow{"swap-tags", Fault::swap_tags, "now and then a read gets the data of another tag's"},
    FaultRow{"short-as-full", Fault::short_as_full,
             "half of a large write is done, all of it is acknowledged"},
    FaultRow{"sector-off", Fault::sector_off, "now and then a write goes one block too far"},
    FaultRow{"acknowledge-early", Fault::acknowledge_early,
             "a write is done after the request that follows it"},
    FaultRow{"forget-tag", Fault::forget_tag, "a request that met an error is never answered"},
    FaultRow{"hide-errors", Fault::hide_errors, "a request that met an error is answered as done"},
    FaultRow{"ignore-discard", Fault::ignore_discard, "a discard does nothing"},
    FaultRow{"discard-too-much", Fault::discard_too_much, "a discard takes the page before it along"},
    FaultRow{"leave-data-on-zeroes", Fault::leave_data_on_zeroes, "a write-zeroes does nothing"},
    FaultRow{"tear-large-write", Fault::tear_large_write,
             "a page in the middle of a large write is left out"},
    FaultRow{"corrupt-byte", Fault::corrupt_byte, "now and then one byte of a write is changed"},
    FaultRow{"stale-read", Fault::stale_read, "now and then a read gives the version before the last"},
    FaultRow{"too-large", Fault::too_large, "the device is said to be a page larger than what is behind it"},
    FaultRow{"ignore-read-only", Fault::ignore_read_only, "--read-only is taken and not heeded"},
    FaultRow{"crash", Fault::crash, "dies of SIGSEGV at its 300th request"},
    FaultRow{"exit-early", Fault::exit_early, "exits with 0 at its 300th request"},
    FaultRow{"exit-with-error", Fault::exit_with_error, "exits with 3 when told to end"},
    FaultRow{"leave-device", Fault::leave_device, "exits with 0 when told to end, and leaves its device"},
    FaultRow{"ignore-sigterm", Fault::ignore_sigterm, "goes on when told to end"},
};

constexpr std::optional<Fault> fault_named(std::string_view name)
{
    for (const auto& row : fault_table)
        if (row.name == name)
            return row.fault;
    return std::nullopt;
}

} // namespace ublk::serve::broken
