#include "vm/qmp.hpp"

#include "vm/clock.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <sys/socket.h>

using nlohmann::json;

namespace vm {
namespace {

// The answer's text, whatever shape a broken or newer peer gives it.
std::string text_of(const json& object, const char* key)
{
    const auto it = object.find(key);
    return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

std::string version_of(const json& greeting)
{
    const auto number = [&](const char* part) {
        return greeting.value(json::json_pointer(std::string("/QMP/version/qemu/") + part), json());
    };
    const auto major = number("major"), minor = number("minor"), micro = number("micro");
    return major.is_number() ? fmt::format("{}.{}.{}", major.dump(), minor.dump(), micro.dump()) : "unknown";
}

} // namespace

Result<Qmp> Qmp::connect(UniqueFd socket, std::chrono::milliseconds timeout)
{
    Qmp qmp(std::move(socket));
    const auto deadline = Clock::now() + timeout;
    auto greeting = qmp.next_message(deadline);
    if (!greeting)
        return std::unexpected(greeting.error());
    if (!greeting->contains("QMP"))
        return unavailable("QEMU's monitor did not greet: " + greeting->dump().substr(0, 200));
    qmp.version_ = version_of(*greeting);
    if (auto done = qmp.execute("qmp_capabilities", json::object(), timeout); !done)
        return std::unexpected(done.error());
    return qmp;
}

Result<void> Qmp::send_text(std::string_view text, Clock::time_point deadline)
{
    while (!text.empty()) {
        const auto n = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
        if (n > 0) {
            text.remove_prefix(static_cast<std::size_t>(n));
            continue;
        }
        const int why = n < 0 ? errno : EAGAIN;
        pollfd waiting{socket_.get(), POLLOUT, 0};
        if ((why != EAGAIN && why != EINTR) || poll(&waiting, 1, milliseconds_until(deadline)) == 0)
            return unavailable(fmt::format("QEMU's monitor takes no commands: {}", std::strerror(why)));
    }
    return {};
}

Result<json> Qmp::execute(std::string_view command, const json& arguments, std::chrono::milliseconds timeout)
{
    const auto deadline = Clock::now() + timeout;
    const auto id = ++last_id_;
    json request{{"execute", command}, {"id", id}};
    if (!arguments.empty())
        request["arguments"] = arguments;
    const auto text = request.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
    if (auto sent = send_text(text, deadline); !sent)
        return std::unexpected(sent.error());
    // An answer with another id belongs to a command whose time had run out.
    for (;;) {
        auto answer = next_message(deadline);
        if (!answer)
            return unavailable(fmt::format("{}: {}", command, answer.error().message));
        if (answer->value("id", json()) != json(id))
            continue;
        if (const auto error = answer->find("error"); error != answer->end())
            return unavailable(fmt::format("QEMU refused {}: {}", command, text_of(*error, "desc")));
        return answer->value("return", json::object());
    }
}

Result<void> Qmp::execute_human(const std::string& command_line, std::chrono::milliseconds timeout)
{
    auto answer = execute("human-monitor-command", {{"command-line", command_line}}, timeout);
    if (!answer)
        return std::unexpected(answer.error());
    auto words = answer->is_string() ? answer->get<std::string>() : answer->dump();
    std::erase(words, '\r');
    if (words.empty())
        return {};
    return unavailable(fmt::format("QEMU refused {}: {}", command_line, words.substr(0, words.find('\n'))));
}

std::vector<QmpEvent> Qmp::take_events()
{
    // Answers that nobody waits for any more are dropped here.
    while (next_message(Clock::now())) {
    }
    return std::exchange(events_, {});
}

Result<json> Qmp::next_message(Clock::time_point deadline)
{
    for (;;) {
        while (auto line = lines_.next()) {
            auto message = json::parse(line->text, nullptr, false);
            if (!message.is_object())
                return unavailable("QEMU's monitor said what is no JSON object: " +
                                   line->text.substr(0, 200));
            if (!message.contains("event"))
                return message;
            events_.push_back({text_of(message, "event"), message.value("data", json::object())});
        }
        if (!fill(deadline))
            return unavailable(closed_ ? "QEMU closed its monitor" : "QEMU's monitor did not answer in time");
    }
}

bool Qmp::fill(Clock::time_point deadline)
{
    std::array<char, 4096> chunk;
    while (!closed_) {
        const auto n = ::recv(socket_.get(), chunk.data(), chunk.size(), 0);
        if (n > 0) {
            lines_.push({chunk.data(), static_cast<std::size_t>(n)});
            return true;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            closed_ = true;
            return false;
        }
        pollfd waiting{socket_.get(), POLLIN, 0};
        if (poll(&waiting, 1, milliseconds_until(deadline)) == 0)
            return false;
    }
    return false;
}

} // namespace vm
