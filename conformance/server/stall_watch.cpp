#include "conformance/server/stall_watch.hpp"

#include "conformance/server/stamp.hpp"

#include <csignal>
#include <cstring>
#include <new>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace conformance {

namespace {

constexpr std::int64_t being_filled = INT64_MAX;

std::int64_t now_ms()
{
    return std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

} // namespace

StallWatch::StallWatch()
{
    void* page = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        fail("memory for the watch", errno_text(errno));
    shared_ = new (page) Shared;
    pid_ = ::fork();
    if (pid_ == 0)
        watch();
    if (pid_ < 0)
        fail("fork works", errno_text(errno));
}

StallWatch::~StallWatch()
{
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::munmap(shared_, sizeof(Shared));
}

void StallWatch::watch() const
{
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;; ::usleep(200'000)) {
        if (!shared_->enabled || shared_->stalled >= 0)
            continue;
        for (std::size_t i = 0; i < shared_->slots.size(); ++i) {
            const auto& slot = shared_->slots[i];
            const auto since = slot.since_ms.load();
            if (since == 0 || since == being_filled || now_ms() - since < Millis(slot.limit).count())
                continue;
            shared_->stalled = static_cast<int>(i);
            for (const auto& pid : shared_->server)
                if (pid > 0)
                    ::kill(pid, SIGKILL);
            break;
        }
    }
}

void StallWatch::guard(std::initializer_list<pid_t> server)
{
    std::size_t at = 0;
    for (const pid_t pid : server)
        shared_->server[at++] = pid;
}

int StallWatch::begin(const char* what, std::uint64_t offset, std::uint64_t bytes, std::chrono::seconds limit)
{
    for (std::size_t i = 0; i < shared_->slots.size(); ++i) {
        auto& slot = shared_->slots[i];
        std::int64_t free = 0;
        if (!slot.since_ms.compare_exchange_strong(free, being_filled))
            continue;
        slot.offset = offset;
        slot.bytes = bytes;
        slot.limit = limit;
        std::strncpy(slot.what, what, sizeof(slot.what) - 1);
        slot.since_ms = now_ms();
        return static_cast<int>(i);
    }
    return -1; // more waiters than slots: the others are watched
}

void StallWatch::end(int slot)
{
    // The slot of a request that was late keeps what it was.
    if (slot >= 0 && shared_->stalled != slot)
        shared_->slots[static_cast<std::size_t>(slot)].since_ms = 0;
}

std::optional<std::string> StallWatch::stalled() const
{
    const int index = shared_->stalled;
    if (index < 0)
        return std::nullopt;
    const auto& slot = shared_->slots[static_cast<std::size_t>(index)];
    return fmt::format("the {}{} got no answer within {} s", slot.what,
                       slot.bytes == 0 ? "" : " of " + place_text(slot.offset, slot.bytes),
                       slot.limit.count());
}

} // namespace conformance
