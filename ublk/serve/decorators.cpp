#include "ublk/serve/decorators.hpp"

#include "ublk/engine/error.hpp"
#include "ublk/uapi/names.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <csignal>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <map>
#include <optional>
#include <vector>

namespace ublk::serve {

namespace {

using namespace backends;
using uapi::IoOp;

constexpr std::array all_ops{IoOp::read,         IoOp::write,          IoOp::flush,      IoOp::discard,
                             IoOp::write_zeroes, IoOp::zone_open,      IoOp::zone_close, IoOp::zone_finish,
                             IoOp::zone_append,  IoOp::zone_reset_all, IoOp::zone_reset, IoOp::report_zones};

constexpr std::array signals{std::pair{"KILL", SIGKILL}, std::pair{"SEGV", SIGSEGV},
                             std::pair{"ABRT", SIGABRT}, std::pair{"BUS", SIGBUS}};

// "write-zeroes"
std::string option_name(IoOp op)
{
    std::string name = uapi::to_string(op);
    std::ranges::transform(name, name.begin(), [](char c) {
        return c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    });
    return name;
}

std::vector<std::string_view> split(std::string_view text, char by)
{
    std::vector<std::string_view> parts;
    for (;;) {
        const auto end = text.find(by);
        parts.push_back(text.substr(0, end));
        if (end == std::string_view::npos)
            return parts;
        text.remove_prefix(end + 1);
    }
}

std::optional<std::uint64_t> whole_number(std::string_view text)
{
    std::uint64_t value = 0;
    const auto* end = text.data() + text.size();
    const auto [rest, code] = std::from_chars(text.data(), end, value);
    return code == std::errc() && rest == end ? std::optional(value) : std::nullopt;
}

// "3ms"
std::optional<std::chrono::nanoseconds> duration(std::string_view text)
{
    constexpr std::array units{std::pair{"ns", 1LL}, std::pair{"us", 1'000LL}, std::pair{"ms", 1'000'000LL},
                               std::pair{"s", 1'000'000'000LL}};
    const auto digits = std::min(text.find_first_not_of("0123456789"), text.size());
    const auto value = whole_number(text.substr(0, digits));
    const auto* unit =
        std::ranges::find(units, text.substr(digits), &std::pair<const char*, long long>::first);
    constexpr std::uint64_t most = 60'000'000'000; // a minute
    if (!value || unit == units.end() || *value > most / static_cast<std::uint64_t>(unit->second))
        return std::nullopt;
    return std::chrono::nanoseconds(static_cast<long long>(*value) * unit->second);
}

// The keys of one decorator. Each is taken once; the first thing that is wrong is what error() says.
class Keys {
  public:
    Keys(std::string_view decorator, std::string_view text) : decorator_(decorator)
    {
        if (text.empty())
            return;
        for (const auto part : split(text, ',')) {
            const auto equals = part.find('=');
            if (equals == std::string_view::npos || equals == 0)
                wrong(fmt::format("'{}' is no KEY=VALUE", part));
            else if (!values_.emplace(part.substr(0, equals), part.substr(equals + 1)).second)
                wrong(fmt::format("{} is given twice", part.substr(0, equals)));
        }
    }

    std::optional<std::string_view> take(std::string_view key)
    {
        known_.push_back(key);
        const auto at = values_.find(key);
        if (at == values_.end())
            return std::nullopt;
        const auto value = at->second;
        values_.erase(at);
        return value;
    }
    bool has(std::string_view key) const { return values_.contains(key); }

    std::uint64_t number(std::string_view key, std::uint64_t low, std::uint64_t high, std::uint64_t otherwise)
    {
        const auto text = take(key);
        if (!text)
            return otherwise;
        const auto value = whole_number(*text);
        if (!value || *value < low || *value > high) {
            wrong(high == UINT64_MAX
                      ? fmt::format("{} '{}': give a number from {} on", key, *text, low)
                      : fmt::format("{} '{}': give a number from {} to {}", key, *text, low, high));
            return otherwise;
        }
        return *value;
    }

    void wrong(std::string what)
    {
        if (!error_)
            error_ = std::move(what);
    }

    // Call it when all keys were asked for.
    std::optional<std::string> error()
    {
        if (!error_ && !values_.empty())
            error_ = fmt::format("{} has no key '{}': give {}", decorator_, values_.begin()->first,
                                 fmt::join(known_, ", "));
        return error_;
    }

  private:
    std::string_view decorator_;
    std::map<std::string_view, std::string_view> values_;
    std::vector<std::string_view> known_;
    std::optional<std::string> error_;
};

void take_ops(Keys& keys, Selection& which)
{
    const auto text = keys.take("op");
    if (!text)
        return;
    which.ops.mask = 0;
    for (const auto name : split(*text, '+')) {
        const auto* op = std::ranges::find(all_ops, name, option_name);
        if (op == all_ops.end()) {
            std::vector<std::string> names;
            std::ranges::transform(all_ops, std::back_inserter(names), option_name);
            return keys.wrong(fmt::format("op '{}' is none: give one or more of {}, with + between them",
                                          name, fmt::join(names, ", ")));
        }
        which.ops = which.ops | *op;
    }
}

void take_sectors(Keys& keys, Selection& which)
{
    const auto text = keys.take("sectors");
    if (!text)
        return;
    const auto ends = split(*text, '-');
    const auto first = whole_number(ends.front()), last = whole_number(ends.back());
    if (ends.size() > 2 || !first || !last || *first > *last)
        return keys.wrong(fmt::format("sectors '{}': give FIRST-LAST, in sectors of 512 bytes", *text));
    which.first_sector = *first;
    which.last_sector = *last;
}

void take_rate(Keys& keys, Selection& which)
{
    const auto text = keys.take("rate");
    if (!text)
        return;
    const auto* end = text->data() + text->size();
    const auto [rest, code] = std::from_chars(text->data(), end, which.rate);
    if (code != std::errc() || rest != end || !(which.rate >= 0 && which.rate <= 1))
        keys.wrong(fmt::format("rate '{}': give a share from 0 to 1", *text));
}

Selection take_selection(Keys& keys, Selection which = {})
{
    take_ops(keys, which);
    take_sectors(keys, which);
    const bool counted = keys.has("after") || keys.has("every") || keys.has("first");
    if (counted && keys.has("at"))
        keys.wrong("at does not go with after, every or first: leave one out");
    which.after = keys.number("after", 0, UINT64_MAX, 0);
    which.every = keys.number("every", 1, UINT64_MAX, 1);
    which.first = keys.number("first", 1, UINT64_MAX, UINT64_MAX);
    if (const auto at = keys.number("at", 1, UINT64_MAX, 0); at != 0) {
        which.after = at - 1;
        which.first = 1;
    }
    take_rate(keys, which);
    which.seed = keys.number("seed", 0, UINT64_MAX, 0);
    return which;
}

DecoratorRequest fault(Keys& keys, std::uint32_t)
{
    FaultOptions options{.which = take_selection(keys)};
    if (const auto name = keys.take("errno")) {
        constexpr int most = 4095;
        options.error = 1;
        while (options.error <= most && errno_name(options.error) != *name)
            ++options.error;
        if (options.error > most)
            keys.wrong(fmt::format("errno '{}': give a name as in errno(3), like ENOSPC", *name));
    }
    return options;
}

DecoratorRequest delay(Keys& keys, std::uint32_t)
{
    DelayOptions options{.which = take_selection(keys)};
    const auto text = keys.take("time");
    if (!text) {
        keys.wrong("delay needs a time: give time=2ms, or time=1ms-5ms");
        return options;
    }
    const auto ends = split(*text, '-');
    const auto least = duration(ends.front()), most = duration(ends.back());
    if (ends.size() > 2 || !least || !most || *least > *most)
        keys.wrong(fmt::format(
            "time '{}': give one as 2ms, or two as 1ms-5ms, in ns, us, ms or s, at most 60s", *text));
    else
        options.least = *least, options.most = *most;
    return options;
}

DecoratorRequest shorten(Keys& keys, std::uint32_t block_size)
{
    const Selection reads{.ops = IoOp::read};
    return ShortOptions{.which = take_selection(keys, reads), .unit = block_size};
}

DecoratorRequest corrupt(Keys& keys, std::uint32_t block_size)
{
    using enum CorruptOptions::Part;
    constexpr std::array parts{std::pair{"data", data}, std::pair{"guard", guard},
                               std::pair{"reference", reference}};
    CorruptOptions options{.block_size = block_size};
    options.which = take_selection(keys, options.which);
    if ((options.which.ops | IoOp::read | IoOp::write) != (Ops(IoOp::read) | IoOp::write))
        keys.wrong("corrupt means reads and writes and nothing else: give op=read, write or read+write");
    if (const auto name = keys.take("part")) {
        const auto* row =
            std::ranges::find(parts, *name, &std::pair<const char*, CorruptOptions::Part>::first);
        if (row == parts.end())
            keys.wrong(fmt::format("part '{}': give data, guard or reference", *name));
        else
            options.part = row->second;
    }
    return options;
}

DecoratorRequest crash(Keys& keys, std::uint32_t)
{
    if (keys.has("signal") && keys.has("exit"))
        keys.wrong("signal does not go with exit: leave one out");
    CrashOptions options{.which = take_selection(keys)};
    if (const auto name = keys.take("signal")) {
        const auto* row = std::ranges::find(signals, *name, &std::pair<const char*, int>::first);
        if (row == signals.end())
            keys.wrong(fmt::format("signal '{}': give KILL, SEGV, ABRT or BUS", *name));
        else
            options.signal = row->second;
    }
    if (keys.has("exit")) {
        options.signal = 0;
        constexpr std::uint64_t most = 255;
        options.status = static_cast<int>(keys.number("exit", 0, most, 0));
    } else {
        keys.take("exit");
    }
    return options;
}

DecoratorRequest record(Keys& keys, std::uint32_t)
{
    RecordRequest request;
    const auto file = keys.take("file");
    if (!file || file->empty())
        keys.wrong("record needs a file: give file=PATH");
    else
        request.file = *file;
    constexpr std::uint64_t most = 1U << 20;
    request.last = static_cast<std::uint32_t>(keys.number("last", 1, most, request.last));
    return request;
}

struct Row {
    std::string_view name;
    DecoratorRequest (*make)(Keys&, std::uint32_t);
    std::string_view keys, what;
};

constexpr std::array rows{
    Row{"fault", fault, "errno=EIO", "fails requests"},
    Row{"delay", delay, "time=2ms or time=1ms-5ms", "lets requests wait, and with them their whole queue"},
    Row{"short", shorten, "", "answers with part of a read; of a write by op=write, which is an error"},
    Row{"corrupt", corrupt, "part=data, guard or reference",
        "flips a bit of what is read, or with op=write of what is written; guard and reference tag are those "
        "of "
        "--integrity"},
    Row{"crash", crash, "signal=KILL, SEGV, ABRT or BUS; exit=STATUS",
        "dies at the first that is meant; by KILL"},
    Row{"record", record, "file=PATH, last=4096",
        "keeps the last requests of each queue: JSON lines at the end and at SIGUSR1"},
};

} // namespace

std::expected<DecoratorRequest, std::string> parse_decorator(std::string_view text, std::uint32_t block_size)
{
    const auto colon = text.find(':');
    const auto name = text.substr(0, colon);
    const auto* row = std::ranges::find(rows, name, &Row::name);
    if (row == rows.end())
        return std::unexpected(fmt::format(
            "there is no decorator '{}': give fault, delay, short, corrupt, crash or record", name));
    Keys keys(name, colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1));
    auto request = row->make(keys, block_size);
    if (auto error = keys.error())
        return std::unexpected(std::move(*error));
    return request;
}

std::string decorator_help()
{
    std::string text = "Decorators of --with, the first is the outermost:\n";
    for (const auto& row : rows)
        text += fmt::format("  {:7} {}{}{}\n", row.name, row.what, row.keys.empty() ? "" : ": ", row.keys);
    text += "All but record take which requests they mean, and mean all if nothing is said:\n"
            "  op=read+write (short, corrupt: op=read), sectors=FIRST-LAST of 512 bytes, and of the requests "
            "that "
            "these let\n"
            "  through, after=N, then every=N-th, then the first=N; or at=N; of them the share rate=0.01 by "
            "seed=N\n";
    return text;
}

} // namespace ublk::serve
