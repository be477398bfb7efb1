// As much of JSON Schema (draft 2020-12) as the files in schema/ use; for tests only. Debian 12 packages no
// validator for C++.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace reports {

// Empty when `value` satisfies schema/`file`, else a sentence with the place of the first violation. A
// keyword that this checker does not know is a violation as well: a schema must not grow rules that nothing
// checks.
std::string violation(const nlohmann::json& value, const std::string& file);

// The parsed schema/`file`.
const nlohmann::json& schema(const std::string& file);

} // namespace reports
