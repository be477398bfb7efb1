#include "conformance/kselftest/ktap.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <map>

namespace conformance::kselftest {

namespace {

using Kind = SubResult::Kind;

std::string_view trimmed(std::string_view text)
{
    constexpr std::string_view blank = " \t\r";
    const auto begin = text.find_first_not_of(blank);
    if (begin == std::string_view::npos)
        return {};
    return text.substr(begin, text.find_last_not_of(blank) - begin + 1);
}

bool take(std::string_view& text, std::string_view prefix)
{
    if (!text.starts_with(prefix))
        return false;
    text.remove_prefix(prefix.size());
    return true;
}

std::optional<unsigned> take_number(std::string_view& text)
{
    unsigned number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{})
        return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return number;
}

// "# SKIP why" at the end of a line, in any case of letters; what stands before it stays in `text`.
std::optional<std::string> take_directive(std::string_view& text, std::string_view word)
{
    const auto same = [](char a, char b) { return (a & ~0x20) == b; };
    for (auto hash = text.find('#'); hash != std::string_view::npos; hash = text.find('#', hash + 1)) {
        const auto behind = trimmed(text.substr(hash + 1));
        if (behind.size() < word.size() || !std::ranges::equal(behind.substr(0, word.size()), word, same))
            continue;
        text = text.substr(0, hash);
        return std::string(trimmed(behind.substr(word.size())));
    }
    return std::nullopt;
}

class Reader {
  public:
    void line(std::string_view raw)
    {
        auto text = trimmed(raw);
        if (text.empty())
            return;
        output_.last_line = text;
        const auto depth = depth_of(raw);
        while (take(text, "# "))
            text = trimmed(text);
        if (!plan(text, depth) && !result(text, depth) && !tag(text) && take(text, "Bail out!"))
            output_.bailed = trimmed(text);
    }

    Output finish()
    {
        close_below(0);
        close(levels_.find(0));
        return std::move(output_);
    }

  private:
    struct Level {
        std::optional<unsigned> planned;
        unsigned seen = 0;
    };

    // Blanks and comment signs before the first word: deeper is nested.
    static std::size_t depth_of(std::string_view raw)
    {
        return std::min(raw.find_first_not_of(" \t#"), raw.size());
    }

    void close(std::map<std::size_t, Level>::iterator level)
    {
        if (level == levels_.end())
            return;
        const auto& [planned, seen] = level->second;
        if (planned && *planned != seen)
            output_.gaps.push_back(fmt::format("{} results were planned, {} came", *planned, seen));
        levels_.erase(level);
    }

    void close_below(std::size_t depth)
    {
        for (auto level = levels_.upper_bound(depth); level != levels_.end();
             level = levels_.upper_bound(depth))
            close(level);
    }

    bool plan(std::string_view text, std::size_t depth)
    {
        if (!take(text, "1.."))
            return false;
        const auto count = take_number(text);
        auto rest = text;
        const auto why = take_directive(rest, "SKIP");
        if (!count || !trimmed(rest).empty())
            return false;
        close_below(depth);
        levels_[depth].planned = count;
        if (count == 0U && depth == 0)
            output_.skipped = why.value_or("");
        return true;
    }

    bool result(std::string_view text, std::size_t depth)
    {
        const bool bad = take(text, "not ");
        // Without a number it may be prose.
        if (!take(text, "ok ") || !take_number(text) || (!text.empty() && text.front() != ' '))
            return false;
        close_below(depth);
        ++levels_[depth].seen;
        SubResult result;
        if (auto why = take_directive(text, "SKIP")) {
            result.kind = Kind::skipped;
            result.note = std::move(*why);
        } else if (auto todo = take_directive(text, "TODO")) {
            result.kind = bad ? Kind::todo : Kind::passed;
            result.note = std::move(*todo);
        } else {
            result.kind = bad ? Kind::failed : Kind::passed;
        }
        text = trimmed(text);
        if (take(text, "-"))
            text = trimmed(text);
        result.name = text;
        output_.results.push_back(std::move(result));
        return true;
    }

    bool tag(std::string_view text)
    {
        constexpr std::array<std::pair<std::string_view, Kind>, 3> tags{
            {{"[FAIL]", Kind::failed}, {"[PASS]", Kind::passed}, {"[SKIP]", Kind::skipped}}};
        for (const auto& [word, kind] : tags) {
            const auto at = text.find(word);
            if (at == std::string_view::npos)
                continue;
            auto name = trimmed(text.substr(0, at));
            if (name.ends_with(':'))
                name = trimmed(name.substr(0, name.size() - 1));
            output_.results.push_back({.name = std::string(name),
                                       .kind = kind,
                                       .note = std::string(trimmed(text.substr(at + word.size())))});
            return true;
        }
        return false;
    }

    Output output_;
    std::map<std::size_t, Level> levels_; // open tests, by depth
};

std::string ended(std::optional<int> status, const Output& output)
{
    auto text = status ? fmt::format("exit status {}", *status) : "it did not end";
    if (!output.last_line.empty())
        text += ", and last it said: " + output.last_line;
    return text;
}

Judgement failed(std::string expected, std::string observed)
{
    return {
        .kind = Judgement::Kind::failed, .expected = std::move(expected), .observed = std::move(observed)};
}

Judgement skipped(std::string_view why)
{
    return {.kind = Judgement::Kind::skipped,
            .reason = why.empty() ? "the script skips, and does not say why"
                                  : fmt::format("the script skips: {}", why)};
}

std::string_view skip_note(const Output& output)
{
    if (output.skipped)
        return *output.skipped;
    const auto found = std::ranges::find_if(
        output.results, [](const auto& r) { return r.kind == Kind::skipped && !r.note.empty(); });
    if (found != output.results.end())
        return found->note;
    return output.last_line;
}

} // namespace

std::string_view to_string(SubResult::Kind kind)
{
    constexpr std::array<std::string_view, 4> names{"passed", "failed", "skipped", "failed, as expected"};
    return names.at(static_cast<std::size_t>(kind));
}

Output parse_output(std::string_view text)
{
    Reader reader;
    while (!text.empty()) {
        const auto end = text.find('\n');
        reader.line(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return reader.finish();
}

Judgement judge_script(std::optional<int> status, const Output& output)
{
    if (!status)
        return failed("the script ends in its time", ended(status, output));
    std::string bad;
    for (const auto& result : output.results)
        if (result.kind == Kind::failed)
            bad += (bad.empty() ? "" : ", ") + (result.name.empty() ? "a nameless one" : result.name);
    if (!bad.empty())
        return failed("no result of the script is a failure",
                      fmt::format("failed: {}; {}", bad, ended(status, output)));
    if (output.bailed)
        return failed("the script goes on to its end", fmt::format("it gave up: {}", *output.bailed));
    if (status == skip_status)
        return skipped(skip_note(output));
    if (status != 0)
        return failed("exit status 0", ended(status, output));
    if (!output.gaps.empty())
        return failed("every planned result", output.gaps.front());
    const bool nothing_ran =
        !output.results.empty() &&
        std::ranges::all_of(output.results, [](const auto& r) { return r.kind == Kind::skipped; });
    if (output.skipped || nothing_ran)
        return skipped(skip_note(output));
    return {};
}

} // namespace conformance::kselftest
