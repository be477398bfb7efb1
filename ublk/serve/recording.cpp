#include "ublk/serve/recording.hpp"

#include "ublk/serve/commands.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

namespace ublk::serve {

namespace {

// For a server that has to give up without unwinding: see at_quick_exit in open().
std::atomic<const Recordings*> last_words = nullptr;

sigset_t save_signal()
{
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGUSR1);
    return set;
}

int write_all(int fd, const std::string& text)
{
    if (::ftruncate(fd, 0) != 0 && errno != EINVAL) // a pipe or a terminal has no length
        return errno;
    ::lseek(fd, 0, SEEK_SET);
    for (std::size_t done = 0; done < text.size();) {
        const ssize_t n = ::write(fd, text.data() + done, text.size() - done);
        if (n < 0 && errno != EINTR)
            return errno;
        done += n > 0 ? static_cast<std::size_t>(n) : 0U;
    }
    return 0;
}

} // namespace

Result<std::unique_ptr<Recordings>> Recordings::open(std::span<const DecoratorRequest> requests,
                                                     std::uint16_t queues)
{
    std::unique_ptr<Recordings> made(new Recordings);
    for (const auto& request : requests) {
        if (const auto* record = std::get_if<RecordRequest>(&request)) {
            wire::Fd file(::open(record->file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
            if (!file)
                return std::unexpected(make_error("open " + record->file, errno));
            made->recordings_.push_back(
                {record->file, std::move(file), std::make_unique<backends::Recorder>(queues, record->last)});
            made->decorators_.emplace_back(backends::RecordOptions{made->recordings_.back().recorder.get()});
            continue;
        }
        std::visit(
            [&]<typename Options>(const Options& options) {
                if constexpr (!std::is_same_v<Options, RecordRequest>)
                    made->decorators_.emplace_back(options);
            },
            request);
    }
    if (made->recordings_.empty())
        return made;
    // The saver waits for its own signal and leaves the server's, which are not blocked yet, to the server.
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    made->saver_ = std::thread([recordings = made.get()] { recordings->save_at_signals(); });
    ::sigaddset(&before, SIGUSR1);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    last_words = made.get();
    std::at_quick_exit([] {
        if (const auto* recordings = last_words.load()) [[maybe_unused]]
            const auto saved = recordings->save();
    });
    return made;
}

Recordings::~Recordings()
{
    last_words = nullptr;
    if (!saver_.joinable())
        return;
    stopping_ = true;
    ::pthread_kill(saver_.native_handle(), SIGUSR1);
    saver_.join();
}

void Recordings::save_at_signals()
{
    const sigset_t set = save_signal();
    for (;;) {
        int signal = 0;
        ::sigwait(&set, &signal);
        if (stopping_)
            return;
        if (const auto saved = save(); !saved)
            complain(saved.error().message());
    }
}

Result<void> Recordings::save() const
{
    for (const auto& recording : recordings_) {
        const std::string text = backends::json_lines(recording.recorder->recorded());
        if (const int code = write_all(recording.file.get(), text); code != 0)
            return std::unexpected(make_error("write " + recording.path, code));
    }
    return {};
}

} // namespace ublk::serve
