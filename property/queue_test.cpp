// The engine's queue under scripts of random steps. PROPERTY_STEPS says how many, RC_PARAMS="seed=N" which:
// `make property SEED=N STEPS=N` sets both.
#include "property/scripted_queue.hpp"

#include <charconv>
#include <cstdlib>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <sstream>
#include <string_view>

namespace property {
namespace {

constexpr std::uint64_t usual_steps = 1'000'000;

// nullopt if PROPERTY_STEPS is no number.
std::optional<std::uint64_t> steps_wanted()
{
    const char* const value = std::getenv("PROPERTY_STEPS");
    if (value == nullptr || *value == '\0')
        return usual_steps;
    const std::string_view text(value);
    std::uint64_t steps = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), steps);
    if (error != std::errc() || end != text.data() + text.size() || steps == 0)
        return std::nullopt;
    return steps;
}

std::string joined(const std::vector<std::string>& lines)
{
    std::string text;
    for (const auto& line : lines)
        text += "\n  " + line;
    return text;
}

void expect_everything_met(const Tally& tally)
{
    for (std::size_t i = 0; i < tally.kinds.size(); ++i)
        EXPECT_GT(tally.kinds[i], 0U) << "no step took effect: " << kind_names[i];
    for (std::size_t i = 0; i < tally.answers.size(); ++i)
        EXPECT_GT(tally.answers[i], 0U) << "no backend answered with " << answer_names[i];
    EXPECT_GT(tally.rest_sent_again, 0U);
    EXPECT_GT(tally.aborts_among_requests, 0U);
    EXPECT_GT(tally.stuck_ends, 0U);
}

TEST(Queue, KeepsItsPropertiesUnderRandomSteps)
{
    const auto wanted = steps_wanted();
    ASSERT_TRUE(wanted) << "PROPERTY_STEPS=" << std::getenv("PROPERTY_STEPS")
                        << ": not a number of steps; give one from 1 on, in digits";
    Tally tally;
    const auto property = [&] {
        const Script script = *any_script();
        if (!play(script, tally))
            return;
        Tally uncounted;
        std::vector<std::string> trace;
        const auto complaint = play(script, uncounted, &trace);
        RC_FAIL(complaint.value_or("broken once, and not when played again") + joined(trace));
    };
    // In rounds, each with the seed after the last one's, so that a failure can be had again from its round.
    auto params = rc::detail::configuration().testParams;
    const std::uint64_t most_rounds = *wanted / 100 + 1;
    for (std::uint64_t round = 0; round < most_rounds && tally.steps < *wanted; ++round, ++params.seed) {
        const auto result = rc::detail::checkProperty(rc::detail::toProperty(property), {}, params);
        if (result.template is<rc::detail::SuccessResult>())
            continue;
        std::ostringstream text;
        rc::detail::printResultMessage(result, text);
        FAIL() << text.str() << "\nagain: make property SEED=" << params.seed << " STEPS=1";
    }
    RecordProperty("steps", std::to_string(tally.steps));
    std::printf("%llu steps\n", static_cast<unsigned long long>(tally.steps));
    EXPECT_GE(tally.steps, *wanted);
    if (*wanted >= usual_steps)
        expect_everything_met(tally);
}

} // namespace
} // namespace property
