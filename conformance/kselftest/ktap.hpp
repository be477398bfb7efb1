// What a selftest of the kernel printed, and what that and its exit status make of it. Pure.
//
// Read are KTAP ("ok 1 - name # SKIP why", "not ok 2 name", "1..3", "Bail out!", nested by indentation or
// behind "# ") and the tags of shell selftests ("name : [FAIL]").
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace conformance::kselftest {

inline constexpr int skip_status = 4; // what a script exits with that does not apply

struct SubResult {
    enum class Kind {
        passed,
        failed,
        skipped,
        todo, // fails, and says itself that this is expected
    };
    std::string name{};
    Kind kind = Kind::passed;
    std::string note{}; // behind # SKIP or # TODO

    bool operator==(const SubResult&) const = default;
};
std::string_view to_string(SubResult::Kind kind);

struct Output {
    std::vector<SubResult> results;     // in their order, those of nested tests too
    std::vector<std::string> gaps;      // plans that were not kept, as sentences
    std::optional<std::string> skipped; // a plan of nothing, "1..0 # SKIP why"
    std::optional<std::string> bailed;  // "Bail out! why"
    std::string last_line;
};
// Total: any text gives an Output.
Output parse_output(std::string_view text);

struct Judgement {
    enum class Kind { passed, failed, skipped } kind = Kind::passed;
    std::string expected{}, observed{}; // failed
    std::string reason{};               // skipped
};
// `status`: exit status, 128 + signal; absent: it did not end in its time.
Judgement judge_script(std::optional<int> status, const Output& output);

} // namespace conformance::kselftest
