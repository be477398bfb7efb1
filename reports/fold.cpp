// From a file of events to a result.
#include "reports/event.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <unordered_map>
#include <utility>

namespace reports {
namespace {

template <class... F>
struct Overloaded : F... {
    using F::operator()...;
};

class Folder {
  public:
    void add(Event event)
    {
        std::visit(Overloaded{
                       [&](RunStarted& e) { run_started(e); },
                       [&](GuestReady& e) { guest_ready(e); },
                       [](CaseStarted&) {}, // without an end it is a gap between planned and got
                       [&](CaseEnded& e) { case_ended(e); },
                       [&](TimingTaken& e) { run_.timings.push_back(std::move(e.timing)); },
                       [&](HarnessNote& e) { run_.notes.push_back(std::move(e.message)); },
                       [&](RunEnded& e) {
                           run_.complete = e.complete;
                           // A sum that no longer fits is still a time, not infinity.
                           run_.seconds =
                               std::min(run_.seconds + e.seconds, std::numeric_limits<double>::max());
                       },
                   },
                   event);
    }

    RunResult result()
    {
        // Workers finish in any order: bring the cases into that of the plan, the unplanned after them.
        std::vector<std::pair<std::size_t, std::size_t>> order; // rank, place
        for (std::size_t place = 0; place < run_.cases.size(); ++place) {
            const auto at = rank_.find(run_.cases[place].id);
            order.emplace_back(at == rank_.end() ? rank_.size() : at->second, place);
        }
        std::ranges::sort(order);
        std::vector<CaseResult> sorted;
        sorted.reserve(order.size());
        for (const auto& [rank, place] : order)
            sorted.push_back(std::move(run_.cases[place]));
        run_.cases = std::move(sorted);
        return std::move(run_);
    }

  private:
    void run_started(RunStarted& e)
    {
        if (run_.started.empty()) {
            run_.started = std::move(e.started);
            run_.command = std::move(e.command);
        }
        run_.machine = std::move(e.machine);
        run_.strict = e.strict;
        run_.complete = false;
        kernel_seen(e.kernel);
        for (auto& id : e.planned)
            if (rank_.try_emplace(id, rank_.size()).second)
                run_.planned.push_back(std::move(id));
    }

    void guest_ready(GuestReady& e)
    {
        kernel_seen(e.kernel);
        for (auto& line : e.boot_log)
            if (std::ranges::find(run_.boot_log, line) ==
                run_.boot_log.end()) // each worker boots the same kernel
                run_.boot_log.push_back(std::move(line));
    }

    void case_ended(CaseEnded& e)
    {
        const auto [at, fresh] = place_.try_emplace(e.result.id, run_.cases.size());
        if (fresh)
            run_.cases.push_back(std::move(e.result));
        else
            run_.cases[at->second] = std::move(e.result);
    }

    // Host and guest each know a part: an empty member does not erase a known one.
    void kernel_seen(KernelInfo& kernel)
    {
        auto& known = run_.kernel;
        for (auto [to, from] : {std::pair{&known.release, &kernel.release},
                                {&known.version, &kernel.version},
                                {&known.source, &kernel.source}})
            if (!from->empty())
                *to = std::move(*from);
        if (kernel.features != 0)
            known.features = kernel.features;
        if (!kernel.feature_names.empty())
            known.feature_names = std::move(kernel.feature_names);
    }

    RunResult run_;
    std::unordered_map<std::string, std::size_t> rank_;  // id -> index in planned
    std::unordered_map<std::string, std::size_t> place_; // id -> index in cases
};

} // namespace

Folded fold(std::string_view jsonl)
{
    Folded folded;
    Folder folder;
    for (std::size_t number = 1; !jsonl.empty(); ++number) {
        const auto end = jsonl.find('\n');
        const auto line = jsonl.substr(0, end);
        jsonl.remove_prefix(end == std::string_view::npos ? jsonl.size() : end + 1);
        if (line.find_first_not_of(" \t\r") == std::string_view::npos)
            continue;
        if (auto event = decode(line))
            folder.add(std::move(*event));
        else
            folded.damaged.push_back(fmt::format("line {}: {}", number, event.error()));
    }
    folded.run = folder.result();
    return folded;
}

} // namespace reports
