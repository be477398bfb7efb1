// ublkcheck-guest: init of the machine that a kernel is judged in, and, on a host, the runner of single
// cases.
#include "conformance/driver/case.hpp"
#include "conformance/driver/driver.hpp"
#include "conformance/guest/init.hpp"
#include "conformance/guest/supervisor.hpp"
#include "conformance/kselftest/kselftest.hpp"
#include "reports/event.hpp"

#include <cstdio>
#include <fmt/format.h>
#include <string_view>
#include <unistd.h>

namespace {

void usage(std::FILE* out)
{
    fmt::print(
        out,
        "usage: ublkcheck-guest --list | --case ID...\n"
        "Runs cases on the running kernel, as root, one JSON event a line. Users want `ublkcheck run`.\n");
}

} // namespace

int main(int argc, char** argv)
{
    conformance::kselftest::register_guest_scripts();
    if (::getpid() == 1)
        return conformance::be_init();
    const std::string_view mode = argc > 1 ? argv[1] : "";
    if (mode == "--list" && argc == 2) {
        for (const auto& c : conformance::all_cases())
            fmt::print("{}  {}\n", c.id, c.title);
        return 0;
    }
    if (mode != "--case" || argc < 3) {
        usage(stderr);
        return reports::exit_usage;
    }
    for (int i = 2; i < argc; ++i) {
        const auto* c = conformance::find_case(argv[i]);
        if (c == nullptr) {
            fmt::print(stderr, "ublkcheck-guest: no case has the id {}; --list shows them\n", argv[i]);
            return reports::exit_usage;
        }
        const auto result = conformance::run_supervised(*c, c->timeout, false);
        fmt::print("{}\n", reports::encode(reports::CaseEnded{result}));
        std::fflush(stdout);
    }
    return 0;
}
