#include "conformance/ublkcheck/pool.hpp"

#include <algorithm>
#include <chrono>
#include <deque>
#include <fmt/format.h>
#include <mutex>
#include <optional>
#include <sstream>
#include <thread>
#include <variant>

namespace conformance {

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;
using reports::Verdict;

constexpr auto boot_limit = 120s; // scaled as the cases' limits are
// What the guest's supervisor may need beyond a case's own limit: killing it, and settling the log. Generous,
// because it is only reached when the guest no longer answers at all.
constexpr auto guest_grace = 20s;

double seconds_since(Clock::time_point start)
{
    return std::chrono::duration<double>(Clock::now() - start).count();
}

std::vector<std::string> console_lines(const vm::Machine& machine)
{
    std::vector<std::string> lines;
    std::istringstream text(machine.console_since_restore());
    for (std::string line; std::getline(text, line);) {
        if (!line.empty() && line.back() == '\r')
            line.pop_back();
        lines.push_back("console: " + line);
    }
    if (lines.size() > 200)
        lines.erase(lines.begin(), lines.end() - 200);
    return lines;
}

// Cases wait here. Workers take from opposite ends, so that the long ones, which have the high ids, start
// early.
class Queue {
  public:
    explicit Queue(const std::vector<const Case*>& cases) : cases_(cases.begin(), cases.end()) {}
    const Case* take(bool from_back)
    {
        const std::scoped_lock lock(mutex_);
        if (cases_.empty())
            return nullptr;
        const Case* c = from_back ? cases_.back() : cases_.front();
        from_back ? cases_.pop_back() : cases_.pop_front();
        return c;
    }
    void give_back(const Case* c)
    {
        const std::scoped_lock lock(mutex_);
        cases_.push_front(c);
    }
    bool empty()
    {
        const std::scoped_lock lock(mutex_);
        return cases_.empty();
    }

  private:
    std::mutex mutex_;
    std::deque<const Case*> cases_;
};

struct Shared {
    const PoolOptions& options;
    const EventSink& sink;
    const std::atomic<bool>& stop;
    Queue queue;
    std::mutex mutex;
    std::vector<double> restores;
    std::optional<vm::Error> broken; // why some worker has no machine
    std::filesystem::path saved_state;

    void say(const reports::Event& event)
    {
        const std::scoped_lock lock(mutex);
        sink(event);
    }
    void note(std::string text) { say(reports::HarnessNote{std::move(text)}); }
};

class Worker {
  public:
    Worker(Shared& shared, unsigned index, std::optional<vm::Machine> machine)
        : shared_(shared), index_(index), machine_(std::move(machine))
    {
    }

    void run()
    {
        while (!shared_.stop) {
            const Case* c = shared_.queue.take(index_ % 2 == 1);
            if (c == nullptr)
                return;
            auto result = run_case(*c);
            if (result && shared_.stop)
                return;    // interrupted in the middle: no verdict
            if (!result) { // no machine for this worker: the others may have one
                shared_.queue.give_back(c);
                shared_.note(fmt::format("worker {} has no machine: {}", index_, result.error().message));
                const std::scoped_lock lock(shared_.mutex);
                shared_.broken = result.error();
                return;
            }
            result->worker = static_cast<int>(index_);
            shared_.say(reports::CaseEnded{std::move(*result)});
        }
    }

  private:
    vm::Result<reports::CaseResult> run_case(const Case& c)
    {
        // QEMU itself may die (the host runs out of memory, somebody kills it): that is not the case's doing,
        // so it gets a second machine, and only a second death counts.
        for (int attempt = 0;; ++attempt) {
            if (auto ready = make_ready(); !ready)
                return std::unexpected(ready.error());
            auto outcome = attempt_case(c);
            if (auto* result = std::get_if<reports::CaseResult>(&outcome))
                return std::move(*result);
            const auto& why = std::get<QemuDied>(outcome).why;
            shared_.note(fmt::format("{}: the machine of worker {} ended: {}", c.id, index_, why));
            machine_.reset();
            if (attempt == 1)
                return host_verdict(c, Verdict::crash, "a machine that survives the case",
                                    "QEMU ended: " + why, {});
        }
    }

    // A machine that stands where the saved state left it.
    vm::Result<void> make_ready()
    {
        if (machine_ && machine_->alive()) {
            if (fresh_ || (shared_.options.isolation == Isolation::none && !spoilt_))
                return {};
            const auto started = Clock::now();
            if (auto restored = machine_->restore()) {
                const std::scoped_lock lock(shared_.mutex);
                shared_.restores.push_back(seconds_since(started));
                fresh_ = true;
                spoilt_ = false;
                return {};
            } else {
                shared_.note(
                    fmt::format("worker {}: {}; starting another machine", index_, restored.error().message));
            }
        }
        machine_.reset();
        auto spec = shared_.options.machine;
        // A directory of its own: the saved state that others continue from stays where it is.
        spec.work_dir /= fmt::format("worker{}.{}", index_, ++generation_);
        auto clone = vm::Machine::clone(spec, shared_.saved_state);
        if (!clone)
            return std::unexpected(clone.error());
        machine_ = std::move(*clone);
        fresh_ = true;
        spoilt_ = false;
        return {};
    }

    struct QemuDied {
        std::string why;
    };

    std::variant<reports::CaseResult, QemuDied> attempt_case(const Case& c)
    {
        fresh_ = false;
        const auto limit =
            std::chrono::duration_cast<std::chrono::milliseconds>(c.timeout * shared_.options.timeout_scale);
        if (auto sent = machine_->send_line(
                reports::encode(reports::RunCase{.id = c.id, .timeout_ms = limit.count()}));
            !sent) {
            if (!machine_->alive())
                return QemuDied{sent.error().message};
            spoilt_ = true;
            return host_verdict(c, Verdict::hang, "the guest takes the command", sent.error().message,
                                console_lines(*machine_));
        }
        const auto started = Clock::now();
        const auto end = started + limit + guest_grace;
        while (Clock::now() < end && !shared_.stop) {
            auto read = machine_->read_line(200ms);
            switch (read.kind) {
            case vm::ReadOutcome::Kind::timeout:
                continue;
            case vm::ReadOutcome::Kind::dead:
                return QemuDied{read.text};
            case vm::ReadOutcome::Kind::panic:
                spoilt_ = true;
                return host_verdict(c, Verdict::crash, "a kernel that survives the case", read.text,
                                    console_lines(*machine_), Clock::now() - started);
            case vm::ReadOutcome::Kind::line:
                if (auto result = take_line(c, read))
                    return std::move(*result);
            }
        }
        spoilt_ = true;
        return host_verdict(c, Verdict::hang, fmt::format("the case ends within {} s", limit.count() / 1000),
                            "the guest no longer answers", console_lines(*machine_), Clock::now() - started);
    }

    std::optional<reports::CaseResult> take_line(const Case& c, const vm::ReadOutcome& read)
    {
        auto event =
            read.overlong ? std::unexpected(std::string("the line is too long")) : reports::decode(read.text);
        if (!event) {
            shared_.note(fmt::format("{}: the guest sent what is no event: {}", c.id, event.error()));
            return std::nullopt;
        }
        if (auto* ended = std::get_if<reports::CaseEnded>(&*event)) {
            if (ended->result.id != c.id) {
                shared_.note(
                    fmt::format("{}: the guest reported {}, which nobody asked for", c.id, ended->result.id));
                return std::nullopt;
            }
            spoilt_ = ended->result.verdict == Verdict::crash || ended->result.verdict == Verdict::hang;
            return std::move(ended->result);
        }
        shared_.say(*event);
        return std::nullopt;
    }

    static reports::CaseResult host_verdict(const Case& c, Verdict verdict, std::string expected,
                                            std::string observed, std::vector<std::string> log,
                                            Clock::duration took = {})
    {
        return {.id = c.id,
                .suite = c.suite,
                .title = c.title,
                .level = c.level,
                .verdict = verdict,
                .duration_ms = std::chrono::duration_cast<std::chrono::milliseconds>(took).count(),
                .expected = std::move(expected),
                .observed = std::move(observed),
                .log = std::move(log)};
    }

    Shared& shared_;
    unsigned index_, generation_ = 0;
    std::optional<vm::Machine> machine_;
    bool fresh_ = true;   // stands at the saved state
    bool spoilt_ = false; // must not run another case, whatever the isolation
};

// Boots a machine and waits until its guest is ready. Sets `worth_another` when the kernel died on the way,
// which emulators bring about now and then.
vm::Result<vm::Machine> boot_once(const vm::MachineSpec& spec, Shared& shared, bool& worth_another)
{
    const auto started = Clock::now();
    const std::chrono::duration<double> limit = boot_limit * std::max(1.0, shared.options.timeout_scale);
    auto machine = vm::Machine::boot(spec);
    while (machine) {
        if (shared.stop)
            return vm::unavailable("interrupted while the machine booted");
        if (Clock::now() - started > limit)
            return vm::unavailable(fmt::format(
                "the kernel did not come up within {:.0f} s; on a machine this busy give --timeout-scale 4",
                limit.count()));
        const auto read = machine->read_line(200ms);
        if (read.kind == vm::ReadOutcome::Kind::timeout)
            continue;
        worth_another = read.kind != vm::ReadOutcome::Kind::line;
        if (worth_another)
            return vm::unavailable("the kernel did not boot: " + read.text);
        const auto event = reports::decode(read.text);
        const auto* ready = event ? std::get_if<reports::GuestReady>(&*event) : nullptr;
        if (ready == nullptr)
            continue;
        const auto driver = std::ranges::find_if(ready->boot_log, [](const auto& line) {
            return line.contains("loading") && line.contains("ublk_drv");
        });
        if (driver != ready->boot_log.end())
            return vm::unavailable("the kernel does not take the ublk driver: " + *driver);
        shared.say(reports::TimingTaken{{"boot", seconds_since(started)}});
        shared.say(*event);
        break;
    }
    return machine;
}

// The machine that all continue from, saved as soon as it is ready.
vm::Result<vm::Machine> boot_first(const PoolOptions& options, Shared& shared)
{
    constexpr int attempts = 3;
    for (int attempt = 1;; ++attempt) {
        auto spec = options.machine;
        spec.work_dir /= attempt == 1 ? "worker0" : fmt::format("worker0.boot{}", attempt);
        bool worth_another = false;
        auto machine = boot_once(spec, shared, worth_another);
        if (!machine && worth_another && attempt < attempts) {
            shared.note(machine.error().message + "; trying again");
            continue;
        }
        if (!machine)
            return machine;
        const auto saving = Clock::now();
        if (auto saved = machine->save(); !saved)
            return std::unexpected(saved.error());
        shared.say(reports::TimingTaken{{"save", seconds_since(saving)}});
        return machine;
    }
}

} // namespace

vm::Result<void> run_cases(const PoolOptions& options, const std::vector<const Case*>& cases,
                           const EventSink& sink, const std::atomic<bool>& stop)
{
    Shared shared{.options = options, .sink = sink, .stop = stop, .queue = Queue(cases)};
    auto first = boot_first(options, shared);
    if (!first)
        return std::unexpected(first.error());
    shared.saved_state = first->saved_state();

    const auto jobs =
        std::clamp<unsigned>(options.jobs, 1, static_cast<unsigned>(std::max<std::size_t>(cases.size(), 1)));
    {
        Worker zero(shared, 0, std::move(*first));
        {
            std::vector<std::jthread> threads;
            for (unsigned i = 1; i < jobs; ++i)
                threads.emplace_back([&shared, i] { Worker(shared, i, std::nullopt).run(); });
            zero.run();
        }
        zero.run(); // what a worker without a machine gave back too late
    }
    if (!shared.restores.empty()) {
        std::ranges::sort(shared.restores);
        sink(reports::TimingTaken{{"restore (median)", shared.restores[shared.restores.size() / 2]}});
        sink(reports::TimingTaken{{"restore (slowest)", shared.restores.back()}});
    }
    if (shared.broken && !shared.queue.empty())
        return std::unexpected(*shared.broken);
    return {};
}

} // namespace conformance
