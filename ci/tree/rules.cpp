#include "ci/tree/rules.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string_view>

#include <fmt/format.h>

namespace ci {
namespace {

constexpr std::size_t max_median = 150, max_p90 = 400, max_file = 600, max_function = 70;

constexpr std::array<std::string_view, 8> code_roots{"ublk", "conformance", "property", "fuzz",
                                                     "perf", "vm",          "reports",  "ci"};

struct Arrow {
    std::string_view from;            // a directory
    std::vector<std::string_view> to; // the directories that it may include from, besides itself
};

// The longest matching `from` counts. `ublk` in `to` means all of ublk/.
const std::vector<Arrow>& arrows()
{
    static const std::vector<Arrow> table{
        {"ublk/uapi", {}},
        {"ublk/wire", {"ublk/uapi"}},
        {"ublk/model", {"ublk/uapi"}},
        {"ublk/observe", {"ublk/uapi"}},
        {"ublk/engine", {"ublk/uapi", "ublk/wire", "ublk/model", "ublk/observe"}},
        {"ublk/backends", {"ublk/uapi", "ublk/wire", "ublk/model", "ublk/observe", "ublk/engine"}},
        {"ublk/serve", {"ublk"}},
        {"ublk/package", {"ublk"}},
        // A suite that judges the kernel must not lean on a server that shares its author's misreadings.
        {"conformance/driver", {"ublk/uapi", "ublk/wire", "ublk/model", "reports"}},
        {"conformance/lockstep", {"ublk/uapi", "ublk/wire", "ublk/model", "conformance/driver", "reports"}},
        {"conformance/guest", {"ublk/uapi", "ublk/wire", "ublk/model", "conformance", "reports"}},
        {"conformance/observer", {"ublk/uapi"}},
        // Servers, ours included, are processes and block devices. From the driver's suite comes only what
        // any case is written in: CASE, expectations, file descriptors.
        {"conformance/server",
         {"ublk/uapi", "ublk/model", "conformance/observer", "conformance/driver", "reports"}},
        // The engine's own life in a process is judged too, from inside: our library is what is held here.
        {"conformance/endurance",
         {"ublk/uapi", "ublk/wire", "ublk/engine", "ublk/backends", "conformance/driver",
          "conformance/server", "reports"}},
        {"conformance/kselftest", {"conformance/driver", "conformance/server", "reports"}},
        {"conformance/known", {"ublk/uapi", "reports"}},
        {"conformance/strength", {"conformance/known", "reports"}},
        // The one place that knows all the others.
        {"conformance/ublkcheck", {"ublk", "conformance", "vm", "reports", "perf"}},
        {"perf", {"reports"}},
        // Measurements are cases too: they run where cases run, and are written in what cases are written in.
        {"perf/guest", {"perf", "conformance/driver", "conformance/server", "reports"}},
        // The parts by themselves, without a kernel.
        {"perf/bench", {"ublk", "reports"}},
        {"vm", {}},
        {"reports", {}},
        {"property", {"ublk", "conformance", "vm", "reports"}},
        {"fuzz", {"ublk", "conformance", "vm", "reports"}},
        {"ci", {}},
    };
    return table;
}

bool is_below(std::string_view path, std::string_view directory)
{
    return path.starts_with(directory) && path.size() > directory.size() && path[directory.size()] == '/';
}

const Arrow* rule_of(std::string_view path)
{
    const Arrow* best = nullptr;
    for (const auto& arrow : arrows())
        if (is_below(path, arrow.from) && (best == nullptr || arrow.from.size() > best->from.size()))
            best = &arrow;
    return best;
}

std::vector<std::string> lines_of(const std::string& text)
{
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);)
        lines.push_back(line);
    return lines;
}

// The path of an #include line if it names a file of ours.
std::optional<std::string> own_include(std::string_view line)
{
    if (!line.starts_with("#include"))
        return std::nullopt;
    const auto open = line.find_first_of("\"<");
    const auto close = line.find_last_of("\">");
    if (open == std::string_view::npos || close <= open)
        return std::nullopt;
    const auto path = line.substr(open + 1, close - open - 1);
    const bool ours = std::ranges::any_of(code_roots, [&](auto root) { return is_below(path, root); });
    return ours ? std::optional(std::string(path)) : std::nullopt;
}

bool is_source(const std::filesystem::path& path)
{
    constexpr std::array<std::string_view, 4> endings{".c", ".cpp", ".h", ".hpp"};
    return std::ranges::find(endings, path.extension().string()) != endings.end();
}

} // namespace

std::vector<Source> read_tree(const std::filesystem::path& root)
{
    std::vector<Source> sources;
    for (const auto code_root : code_roots) {
        const auto directory = root / code_root;
        if (!std::filesystem::is_directory(directory))
            continue;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
            if (!entry.is_regular_file() || !is_source(entry.path()))
                continue;
            std::ifstream file(entry.path(), std::ios::binary);
            sources.push_back({entry.path().lexically_relative(root).generic_string(),
                               {std::istreambuf_iterator<char>(file), {}}});
        }
    }
    std::ranges::sort(sources, {}, &Source::path);
    return sources;
}

std::vector<std::string> arrow_complaints(const std::vector<Source>& sources)
{
    std::vector<std::string> complaints;
    for (const auto& source : sources) {
        const Arrow* rule = rule_of(source.path);
        if (rule == nullptr) {
            complaints.push_back(fmt::format("{}: no rule says what its directory may include", source.path));
            continue;
        }
        for (const auto& line : lines_of(source.text)) {
            const auto target = own_include(line);
            if (!target || is_below(*target, rule->from))
                continue;
            if (std::ranges::none_of(rule->to, [&](auto to) { return is_below(*target, to); }))
                complaints.push_back(
                    fmt::format("{}: {} must not include {}", source.path, rule->from, *target));
        }
    }
    return complaints;
}

std::vector<std::string> file_length_complaints(const std::vector<Source>& sources)
{
    std::vector<std::string> complaints;
    std::vector<std::size_t> lengths;
    for (const auto& source : sources) {
        lengths.push_back(static_cast<std::size_t>(std::ranges::count(source.text, '\n')));
        if (lengths.back() > max_file)
            complaints.push_back(
                fmt::format("{}: {} lines, at most {}", source.path, lengths.back(), max_file));
    }
    if (lengths.empty())
        return complaints;
    std::ranges::sort(lengths);
    const auto rank = [&](std::size_t percent) { return lengths[(lengths.size() * percent + 99) / 100 - 1]; };
    if (rank(50) > max_median)
        complaints.push_back(
            fmt::format("half of the files are longer than {} lines, at most {}", rank(50) - 1, max_median));
    if (rank(90) > max_p90)
        complaints.push_back(
            fmt::format("one file in ten has {} lines or more, at most {}", rank(90), max_p90));
    return complaints;
}

std::vector<std::string> function_length_complaints(const std::vector<Source>& sources)
{
    std::vector<std::string> complaints;
    for (const auto& source : sources) {
        const auto lines = lines_of(source.text);
        std::optional<std::size_t> open;
        for (std::size_t i = 0; i < lines.size(); ++i) {
            if (lines[i] == "{") {
                open = i;
            } else if (open && lines[i].starts_with('}')) {
                const auto length = i - *open + 1;
                if (length > max_function)
                    complaints.push_back(fmt::format("{}:{}: function of {} lines, at most {}", source.path,
                                                     *open + 1, length, max_function));
                open.reset();
            }
        }
    }
    return complaints;
}

} // namespace ci
