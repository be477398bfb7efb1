// What the commands do. Each prints what there is to print and returns the exit code.
#pragma once

#include "ublk/engine/error.hpp"
#include "ublk/serve/cli.hpp"

#include <nlohmann/json.hpp>
#include <string>

namespace ublk::serve {

int run(const AddCommand& command);
int run(const ListCommand& command);
int run(const InfoCommand& command);
int run(const StopCommand& command);
int run(const QuiesceCommand& command);
int run(const ResizeCommand& command);
int run(const DeleteCommand& command);
int run(const OwnerCommand& command);
int run(const TopCommand& command);

// exit_impossible if this machine or user cannot serve ublk devices at all, else exit_failed.
int exit_code(const Error& error);

// "ublk-serve: MESSAGE" on standard error.
void complain(const std::string& message);

// To a file, or to standard output for "-"; nothing for an empty name.
Result<void> write_json(const std::string& name, const nlohmann::json& value);

} // namespace ublk::serve
