// Runs cases on machines side by side: one boots and is saved, the others continue from a copy of its state,
// and each case starts from there.
#pragma once

#include "conformance/driver/case.hpp"
#include "reports/event.hpp"
#include "vm/error.hpp"
#include "vm/machine.hpp"

#include <atomic>
#include <functional>
#include <vector>

namespace conformance {

enum class Isolation {
    each, // every case from the saved state
    none, // one after the other in the same kernel; only a crash or a hang brings the saved state back
};

struct PoolOptions {
    vm::MachineSpec machine; // work_dir: each worker gets a directory of its own in it
    unsigned jobs = 1;
    Isolation isolation = Isolation::each;
    double timeout_scale = 1; // of every case's limit
};

// What a pool tells while it runs. Called from worker threads, never two at a time.
using EventSink = std::function<void(const reports::Event&)>;

// Boots, says GuestReady, runs every case once unless `stop` becomes true. The verdicts are those of the
// guest; what the guest could not tell (a panic, silence) is judged here. Error: no machine could be had.
vm::Result<void> run_cases(const PoolOptions& options, const std::vector<const Case*>& cases,
                           const EventSink& sink, const std::atomic<bool>& stop);

} // namespace conformance
