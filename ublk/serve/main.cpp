#include "ublk/serve/commands.hpp"

#include <exception>
#include <fmt/core.h>

int main(int argc, char** argv)
try {
    const auto command = ublk::serve::parse({argv + 1, argv + argc});
    if (!command) {
        if (command.error().exit_code == ublk::serve::exit_ok)
            fmt::print("{}", command.error().text);
        else
            ublk::serve::complain(command.error().text);
        return command.error().exit_code;
    }
    return std::visit([](const auto& chosen) { return ublk::serve::run(chosen); }, *command);
} catch (const std::exception& error) { // from the libraries below: out of memory, no threads
    ublk::serve::complain(error.what());
    return ublk::serve::exit_failed;
}
