// What is measured: loads, subjects, and how often. The host writes the plan as a file of the guest, the
// guest carries it out.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace perf {

inline constexpr std::string_view plan_file = "/etc/ublkcheck/perf.json"; // in the guest
inline constexpr std::uint64_t working_set = 16 << 20; // bytes of each device that loads touch: brd's default

struct Load {
    std::string_view name;  // "4k-randread-qd1"
    std::string_view title; // "4k random read, QD 1"
    bool random = true;
    unsigned write_percent = 0; // of the I/Os
    unsigned block = 4096;      // bytes
    unsigned depth = 1;         // I/Os in flight
    unsigned exact_ios = 0;     // counted in a repetition of exact mode
    double exact_gate = 0;      // a change of the exact count below this part of it is no difference
};
std::span<const Load> loads();
std::string case_id(const Load& load); // "PERF-4K-RANDREAD-QD1"

struct Subject {
    enum class Kind { null_blk, brd, loop, server, kublk };
    std::string name{};
    Kind kind = Kind::server;
    std::string program{};              // server, kublk: in the guest's /bin
    std::string backend{};              // server: null, memory, file; kublk: null, loop
    std::vector<std::string> options{}; // of the command that adds the device: "--batch"
    // The subject that this one is a second instance of: their ratio is the noise of the session.
    std::string repeats{};

    bool operator==(const Subject&) const = default;
};

struct Plan {
    bool exact = false; // count instructions with our own generator; else fio
    unsigned rounds = 3;
    double runtime = 0.5; // seconds of each fio job
    unsigned queues = 1;  // of a subject whose number of queues can be chosen; each of 128
    std::vector<Subject> subjects{};
    std::vector<std::string> against{}; // the subjects to which ratios are taken
    // B is compared with A: a case fails when a subject is slower than the one in `against` that has the same
    // backend, beyond the noise.
    bool compare = false;

    bool operator==(const Plan&) const = default;
};

// The subject that has the turn at `position` of a round: nobody is always the first.
std::size_t in_turn(const Plan& plan, unsigned round, std::size_t position);

// One subject for each backend beside the kernel's own drivers. Without counting, the first of them twice;
// counting, also the other ways of the payload, and the same of `kublk`, unless that is empty.
Plan usual_plan(bool exact, std::string_view kublk = {});

std::string to_json(const Plan& plan);
// Any text in; a plan, or a sentence saying what is wrong with it.
std::expected<Plan, std::string> plan_from_json(std::string_view text);

} // namespace perf
