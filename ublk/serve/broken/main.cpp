// ublk-serve-broken: ublk-serve with `--break NAME` before its own arguments; wrong in the way that is named.
#include "ublk/serve/broken/broken_backend.hpp"
#include "ublk/serve/broken/forgetful_queue.hpp"
#include "ublk/serve/serving.hpp"

#include <csignal>
#include <exception>
#include <fmt/core.h>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace {

using namespace ublk::serve;
using broken::Fault;

constexpr int wrong_status = 3;

void take_sigterm(AddCommand& command, void (*handler)(int))
{
    std::erase(command.ends_on, SIGTERM);
    struct sigaction action{};
    action.sa_handler = handler;
    ::sigaction(SIGTERM, &action, nullptr);
}

// Faults that are a decorator.
std::optional<ublk::backends::CrashOptions> sudden_end(Fault fault)
{
    constexpr ublk::backends::Selection request_300{.after = 299, .first = 1};
    if (fault == Fault::crash)
        return ublk::backends::CrashOptions{.which = request_300, .signal = SIGSEGV};
    if (fault == Fault::exit_early)
        return ublk::backends::CrashOptions{.which = request_300, .signal = 0};
    return std::nullopt;
}

int serve_broken(AddCommand command, Fault fault)
{
    if (fault == Fault::ignore_read_only)
        command.read_only = false;
    if (fault == Fault::leave_device)
        take_sigterm(command, [](int) { ::_exit(0); });
    if (fault == Fault::ignore_sigterm)
        take_sigterm(command, [](int) {});
    Starter starter;
    const int code = with_backend<ublk::backends::File>(command, starter, [&](auto& honest) {
        if (const auto end = sudden_end(fault)) {
            ublk::backends::With doomed(honest, *end);
            return serve(command, doomed, starter);
        }
        broken::BrokenBackend backend(honest, fault);
        return fault == Fault::forget_tag ? serve<broken::ForgetfulQueue>(command, backend, starter)
                                          : serve(command, backend, starter);
    });
    return fault == Fault::exit_with_error ? wrong_status : code;
}

void usage()
{
    fmt::print("usage: ublk-serve-broken --break NAME add ...\n");
    for (const auto& row : broken::fault_table)
        fmt::print("  {:22} {}\n", row.name, row.what);
}

} // namespace

int main(int argc, char** argv)
try {
    const auto fault =
        argc > 3 && std::string_view(argv[1]) == "--break" ? broken::fault_named(argv[2]) : std::nullopt;
    if (!fault) {
        usage();
        return exit_usage;
    }
    const auto command = parse({argv + 3, argv + argc});
    if (!command) {
        complain(command.error().text);
        return command.error().exit_code;
    }
    const auto* add = std::get_if<AddCommand>(&*command);
    if (add == nullptr || add->daemon) {
        complain("only `add` in the foreground can be broken");
        return exit_usage;
    }
    return serve_broken(*add, *fault);
} catch (const std::exception& error) {
    complain(error.what());
    return exit_failed;
}
