#include "ublk/model/traits.hpp"

#include <algorithm>

namespace ublk::model {

namespace {

using K = KernelTraits;
constexpr KernelVersion first{6, 12};

constexpr std::array table{
    TraitRow{&K::queue_daemon,
             "queue_daemon",
             "UBLK-IO-FETCH-010",
             "a queue has one task, the one that completed it; a tag has none of its own",
             {{{first, {6, 16}}}}},
    TraitRow{&K::queue_ready,
             "queue_ready",
             "UBLK-IO-FETCH-006",
             "FETCH is refused as soon as the queue is complete, not the device",
             {{{first, {6, 18}}}}},
    TraitRow{&K::armed_busy,
             "armed_busy",
             "UBLK-TAG-101",
             "FETCH of an armed tag is -EBUSY before the device is ready",
             {{{first, {6, 17}}}}},
    TraitRow{&K::buffer_last,
             "buffer_last",
             "UBLK-IO-GEN-002",
             "the tag's state is looked at before the buffer's address",
             {{{first, {6, 17}}}}},
    TraitRow{&K::no_stopping,
             "no_stopping",
             "UBLK-CTRL-STOP-008",
             "STOP_DEV leaves no mark: FETCH and START_DEV do not know of it",
             {{{first, {7, 3, 4}}}}},
    TraitRow{&K::tags_survive,
             "tags_survive",
             "UBLK-CTRL-STOP-010",
             "the close of a device without a disk leaves its tags as they are",
             {{{first, {7, 3, 4}}}}},
    TraitRow{&K::never_resets,
             "never_resets",
             "UBLK-LIFE-016",
             "only START_USER_RECOVERY makes tags unfetched",
             {{{first, {6, 15}}}}},
    TraitRow{&K::any_pid,
             "any_pid",
             "UBLK-START-006",
             "START_DEV and END_USER_RECOVERY take any positive pid",
             {{{first, {6, 16}}}}},
    TraitRow{&K::pid_stays,
             "pid_stays",
             "UBLK-CTRL-INFO-004",
             "GET_DEV_INFO tells the pid of a dead server",
             {{{first, {6, 18}}}}},
    TraitRow{&K::late_delivery,
             "late_delivery",
             "UBLK-RECOV-END-005",
             "nothing is delivered before END_USER_RECOVERY",
             {{{first, {6, 15}}}}},
    TraitRow{&K::all_queues,
             "all_queues",
             "UBLK-RECOV-END-005",
             "after a death nothing is delivered before all queues are complete",
             {{{first, {7, 0}}}}},
    TraitRow{&K::short_resent,
             "short_resent",
             "UBLK-DATA-RES-007",
             "the rest of a short write, and of a short read without copy, comes again",
             {{{first, {7, 3}}}}},
    TraitRow{&K::copy_einval,
             "copy_einval",
             "UBLK-CDEV-RW-003",
             "pread and pwrite on ublkcN are -EINVAL without USER_COPY",
             {{{first, {6, 16}}}}},
    TraitRow{&K::copy_untruncated,
             "copy_untruncated",
             "UBLK-CDEV-RW-006",
             "pread and pwrite on ublkcN return what was asked for, not what the request has",
             {{{first, {6, 19}}}}},
    TraitRow{&K::any_recovery,
             "any_recovery",
             "UBLK-CTRL-ADD-020",
             "ADD_DEV takes any combination of recovery flags",
             {{{first, {6, 13}}}}},
    TraitRow{&K::recovery_einval,
             "recovery_einval",
             "UBLK-RECOV-START-003",
             "START_USER_RECOVERY is -EINVAL while no queue has all of its tags fetched",
             {{{first, {6, 16}}}}},
    TraitRow{&K::cancel_forgotten,
             "cancel_forgotten",
             "UBLK-LIFE-006",
             "a canceled command does not keep its queue from being taken for ready",
             {{{first, {7, 3, 4}}}}},
    TraitRow{&K::cancel_repeats,
             "cancel_repeats",
             "UBLK-TAG-102",
             "a canceled command whose round is completed after it is completed once more: use after free",
             {{{{6, 16}, {7, 0}}}}},
    TraitRow{&K::cancel_once,
             "cancel_once",
             "UBLK-LIFE-020",
             "a task that ends before all queues of a recovery are complete leaves them taking requests",
             {{{{7, 0}, {7, 3}}}}},
    TraitRow{
        &K::aborts_stay,
        "aborts_stay",
        "UBLK-QUIESCE-012",
        "a device with recovery or BATCH_IO that was stopped or quiesced fails all I/O after its next start",
        {{{{6, 16}, {7, 0, 44}}, {{7, 1}, {7, 2, 12}}}}},
    TraitRow{&K::cancel_needs_disk,
             "cancel_needs_disk",
             "UBLK-LIFE-019",
             "a FETCH_IO_CMDS that goes with its task leaves no mark on a device without a disk",
             {{{{7, 0}, {7, 2}}}}},
    TraitRow{&K::one_shot_start,
             "one_shot_start",
             "UBLK-START-010",
             "START_DEV does not wait for a second round of FETCHes",
             {{{first, {7, 2}}}}},
    TraitRow{&K::resize_oopses,
             "resize_oopses",
             "UBLK-SIZE-002",
             "UPDATE_SIZE without a disk crashes the kernel",
             {{{{6, 16}, {6, 19, 14}}}}},
    TraitRow{&K::quiesce_spares,
             "quiesce_spares",
             "UBLK-QUIESCE-015",
             "QUIESCE_DEV of a device that waits for its recovery leaves the next server the commands of "
             "queues that "
             "are not complete",
             {{{{6, 16}, {7, 0}}}}},
    TraitRow{&K::no_buffer_hangs,
             "no_buffer_hangs",
             "UBLK-IO-FETCH-002",
             "FETCH without the buffer that it needs is neither accepted nor answered",
             {{{{6, 16}, {6, 17}}}}},
    TraitRow{&K::references_stay,
             "references_stay",
             "UBLK-ZONE-013",
             "a request whose payload the server moves itself keeps its references when the server dies: a "
             "warning",
             {{{{6, 17}, {6, 18}}}}},
    TraitRow{
        &K::report_timer_stays,
        "report_timer_stays",
        "UBLK-ZONE-016",
        "START_DEV that fails on its report of zones leaves a timer, and the kernel crashes seconds later",
        {{{{6, 16}, {7, 1}}}}},
    TraitRow{&K::few_blocks,
             "few_blocks",
             "UBLK-PARAM-DMA-001",
             "SET_PARAMS does not know DMA alignment and segments, and lets them pass",
             {{{first, {6, 15}}}}},
};

} // namespace

std::span<const TraitRow> trait_table()
{
    return table;
}

KernelTraits traits_of(KernelVersion version)
{
    KernelTraits traits{.version = version};
    for (const auto& row : trait_table()) {
        traits.*row.trait = std::ranges::any_of(
            row.kernels, [&](const TraitRange& range) { return range.contains(version); });
    }
    for (const auto& feature : uapi::feature_registry) {
        if (feature.since <= version)
            traits.features |= feature.flag;
    }
    return traits;
}

} // namespace ublk::model
