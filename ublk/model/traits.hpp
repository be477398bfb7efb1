// What differs between kernels, as data: the rules ask for a trait by name, never for a version.
#pragma once

#include "ublk/uapi/features.hpp"

#include <array>
#include <span>
#include <string_view>

namespace ublk::model {

using uapi::Features;
using uapi::KernelVersion;

// All false is Linux 7.3.4. Each trait names what an older kernel does otherwise.
struct KernelTraits {
    KernelVersion version{};
    Features features{};        // the answer to GET_FEATURES
    bool bare_numbers = true;   // as distributions build it: CONFIG_BLKDEV_UBLK_LEGACY_OPCODES
    bool queue_daemon = false;  // a queue has one task, the one that completed it; a tag has none of its own
    bool queue_ready = false;   // FETCH is refused as soon as the queue is complete, not the device
    bool armed_busy = false;    // FETCH of an armed or canceled tag is -EBUSY before the device is ready
    bool buffer_last = false;   // the tag's state is looked at before the buffer's address
    bool no_stopping = false;   // STOP_DEV leaves no mark: FETCH and START_DEV do not know of it
    bool tags_survive = false;  // the close of a device without a disk leaves its tags as they are
    bool never_resets = false;  // only START_USER_RECOVERY makes tags unfetched
    bool any_pid = false;       // START_DEV and END_USER_RECOVERY take any positive pid
    bool pid_stays = false;     // GET_DEV_INFO tells the pid of a dead server
    bool late_delivery = false; // nothing is delivered before END_USER_RECOVERY
    bool all_queues = false;    // ... or before all queues are complete
    bool short_resent = false;  // the rest of a short write, and of a short read without copy, comes again
    bool copy_einval = false;   // pread and pwrite on ublkcN are -EINVAL without USER_COPY
    bool copy_untruncated = false; // ... and return what was asked for, not what the request has
    bool any_recovery = false;     // ADD_DEV takes any combination of recovery flags
    bool recovery_einval = false;  // START_USER_RECOVERY with no complete queue is -EINVAL
    bool cancel_forgotten = false; // a canceled command does not keep its queue from being taken for ready
    bool cancel_repeats = false;   // ... and is completed once more
    bool cancel_once = false; // a task that ends before all queues are complete leaves them taking requests
    bool aborts_stay = false; // a device that was stopped or quiesced fails all I/O after its next start
    bool one_shot_start = false;  // START_DEV does not wait for a second round of FETCHes
    bool resize_oopses = false;   // UPDATE_SIZE without a disk
    bool quiesce_spares = false;  // QUIESCE_DEV of a device that waits for its recovery, but for whole queues
    bool no_buffer_hangs = false; // FETCH without the buffer that it needs
    bool references_stay = false; // those of a dead server's requests
    bool few_blocks = false;      // SET_PARAMS does not know DMA alignment and segments, and lets them pass
    bool report_timer_stays = false; // START_DEV that failed on its report
    bool cancel_needs_disk = false;  // BATCH_IO: a FETCH_IO_CMDS that goes marks nothing without a disk
};

struct TraitRange {
    KernelVersion from{}, before{}; // from <= v < before; empty by default
    constexpr bool contains(KernelVersion v) const { return from <= v && v < before; }
};
struct TraitRow {
    bool KernelTraits::* trait;
    std::string_view name;
    std::string_view requirement; // of the catalogue
    std::string_view what;
    std::array<TraitRange, 2> kernels{};
};

// One row for each bool of KernelTraits that goes by version.
std::span<const TraitRow> trait_table();

KernelTraits traits_of(KernelVersion version);
inline constexpr KernelVersion reference_version{7, 3, 4};

} // namespace ublk::model
