#include "conformance/guest/kernel_log.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

namespace conformance {

namespace {

struct Pattern {
    std::string_view text;
    Complaint complaint;
};

// Strings that the kernel has printed for years in these situations; the first that is found counts.
constexpr std::array patterns{
    Pattern{"Kernel panic", Complaint::oops},
    Pattern{"kernel BUG at", Complaint::oops},
    Pattern{"BUG: KASAN", Complaint::oops},
    Pattern{"BUG: KFENCE", Complaint::oops},
    Pattern{"BUG: KMSAN", Complaint::oops},
    Pattern{"BUG: KCSAN", Complaint::warning},
    Pattern{"BUG: sleeping function", Complaint::warning},
    Pattern{"BUG: scheduling while atomic", Complaint::warning},
    Pattern{"BUG: workqueue lockup", Complaint::warning},
    Pattern{"BUG: soft lockup", Complaint::warning},
    Pattern{"BUG: using ", Complaint::warning},
    Pattern{"BUG: MAX_LOCK", Complaint::warning},
    Pattern{"BUG: ", Complaint::oops},
    Pattern{"Oops", Complaint::oops},
    Pattern{"general protection fault", Complaint::oops},
    Pattern{"Unable to handle kernel", Complaint::oops},
    Pattern{"unable to handle page fault", Complaint::oops},
    Pattern{"invalid opcode: 0000", Complaint::oops},
    Pattern{"divide error: 0000", Complaint::oops},
    Pattern{"stack-protector: Kernel stack is corrupted", Complaint::oops},
    Pattern{"kernel stack overflow", Complaint::oops},
    Pattern{"double fault", Complaint::oops},
    Pattern{"hard LOCKUP", Complaint::oops},
    Pattern{"Bad page state", Complaint::oops},
    Pattern{"Bad page map", Complaint::oops},
    Pattern{"list_add corruption", Complaint::oops},
    Pattern{"list_del corruption", Complaint::oops},
    Pattern{"slab-out-of-bounds", Complaint::oops},
    Pattern{"Slab corruption", Complaint::oops},
    Pattern{"WARNING: ", Complaint::warning},
    Pattern{"UBSAN: ", Complaint::warning},
    Pattern{"refcount_t: ", Complaint::warning},
    Pattern{"blocked for more than", Complaint::warning},
    Pattern{"blocked in I/O wait for more than", Complaint::warning},
    Pattern{"rcu: INFO:", Complaint::warning},
    Pattern{"detected stall", Complaint::warning},
    Pattern{"self-detected stall", Complaint::warning},
    Pattern{"INFO: possible recursive locking", Complaint::warning},
    Pattern{"INFO: possible circular locking", Complaint::warning},
    Pattern{"INFO: suspicious RCU usage", Complaint::warning},
    Pattern{"suspicious rcu_dereference", Complaint::warning},
    Pattern{"INFO: inconsistent lock state", Complaint::warning},
    Pattern{"possible irq lock inversion", Complaint::warning},
    Pattern{"INFO: trying to register non-static key", Complaint::warning},
    Pattern{"held lock freed", Complaint::warning},
    Pattern{"lock held when returning to user space", Complaint::warning},
    Pattern{"new suspected memory leaks", Complaint::warning},
    Pattern{"DEADLOCK", Complaint::warning},
    Pattern{"percpu ref", Complaint::warning},
    Pattern{"sysfs: cannot create duplicate filename", Complaint::warning},
    Pattern{"kobject_add_internal failed", Complaint::warning},
    Pattern{"Voluntary context switch within RCU", Complaint::warning},
    Pattern{"segfault at", Complaint::process},
    Pattern{"traps: ", Complaint::process},
    Pattern{"Out of memory: Killed process", Complaint::process},
    Pattern{"oom-kill:", Complaint::process},
};

} // namespace

std::optional<Complaint> classify(std::string_view message)
{
    for (const auto& pattern : patterns) {
        if (message.contains(pattern.text))
            return pattern.complaint;
    }
    return std::nullopt;
}

// ---- BoundedLog ----

void BoundedLog::add(std::string line)
{
    if (line.size() > max_line)
        line = line.substr(0, max_line) + " [...]";
    if (head_.size() < head_lines) {
        head_.push_back(std::move(line));
        return;
    }
    tail_.push_back(std::move(line));
    if (tail_.size() > tail_lines) {
        tail_.pop_front();
        ++dropped_;
    }
}

// Of a flood only the last lines are kept: what they would push out is counted and not looked at, or a
// program that prints a gigabyte of short lines would be slowed down to our pace.
std::string_view BoundedLog::skip_flood(std::string_view bytes)
{
    const auto lines = static_cast<std::size_t>(std::ranges::count(bytes, '\n'));
    if (head_.size() < head_lines || lines <= tail_lines)
        return bytes;
    auto end = bytes.size();
    for (std::size_t i = 0; i <= tail_lines; ++i)
        end = bytes.rfind('\n', end - 1);
    dropped_ += lines - tail_lines;
    partial_.clear(); // the beginning of a line that is passed over
    return bytes.substr(end + 1);
}

void BoundedLog::add_bytes(std::string_view bytes)
{
    bytes = skip_flood(bytes);
    while (!bytes.empty()) {
        const auto end = bytes.find('\n');
        const auto piece = bytes.substr(0, end);
        // The beginning of a line is what counts; the rest of an endless one is passed over.
        partial_ +=
            piece.substr(0, std::min(piece.size(), max_line + 1 - std::min(partial_.size(), max_line + 1)));
        if (end == std::string_view::npos)
            return;
        add(std::exchange(partial_, {}));
        bytes.remove_prefix(end + 1);
    }
}

std::vector<std::string> BoundedLog::lines() const
{
    std::vector<std::string> all = head_;
    if (dropped_ != 0)
        all.push_back("[... " + std::to_string(dropped_) + " lines left out ...]");
    all.insert(all.end(), tail_.begin(), tail_.end());
    if (!partial_.empty())
        all.push_back(partial_);
    return all;
}

// ---- KernelLog ----

KernelLog::KernelLog() : fd_(::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC))
{
    skip_to_end();
}

void KernelLog::skip_to_end()
{
    if (fd_)
        ::lseek(fd_.get(), 0, SEEK_END);
}

std::optional<KernelLog::Line> KernelLog::next()
{
    char record[8192];
    for (;;) {
        const auto got = fd_ ? ::read(fd_.get(), record, sizeof(record)) : -1;
        if (got < 0 && errno == EPIPE)
            return Line{"[kernel messages were lost here: the log is flooded]", std::nullopt};
        if (got < 0 && errno == EINVAL)
            continue; // a record larger than the buffer
        if (got <= 0)
            return std::nullopt;
        // "<facility*8+level>,<sequence>,<microseconds>,<flags>;message\n DEVICE=...": the message only.
        const std::string_view all(record, static_cast<std::size_t>(got));
        const auto semicolon = all.find(';');
        if (semicolon == std::string_view::npos)
            continue;
        const auto rest = all.substr(semicolon + 1);
        Line line{std::string(rest.substr(0, rest.find('\n'))), std::nullopt};
        // What user space writes to /dev/kmsg has another facility: it cannot complain in the kernel's name.
        if (std::atoi(record) >> 3 == 0)
            line.complaint = classify(line.text);
        return line;
    }
}

} // namespace conformance
