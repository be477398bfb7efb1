#include "conformance/ublkcheck/carry.hpp"

#include "vm/elf.hpp"
#include "vm/initramfs.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fstream>
#include <sstream>
#include <unistd.h>

namespace conformance {

namespace {

namespace fs = std::filesystem;

std::unexpected<Failed> no_program(const std::string& what, const fs::path& name, std::string_view why)
{
    return failed(reports::exit_usage, fmt::format("{}: {} {}", what, name.string(), why));
}

Expected<fs::path> find(const std::string& name, const std::string& what)
{
    std::error_code ec;
    if (name.find('/') == std::string::npos) {
        auto found = vm::find_program(name);
        if (!found)
            return no_program(what, name, "is no program in PATH: give its path");
        return std::move(*found);
    }
    const auto status = fs::status(name, ec);
    if (!fs::exists(status))
        return no_program(what, name, "is not there: check the path");
    if (!fs::is_regular_file(status))
        return no_program(what, name, "is no file: give the path of a program");
    if (::access(name.c_str(), X_OK) != 0)
        return no_program(what, name, "is not executable: chmod +x, or give another");
    return fs::path(name);
}

void add_program(GuestExtras& extras, const fs::path& program)
{
    if (std::ranges::find(extras.programs, program) == extras.programs.end())
        extras.programs.push_back(program);
}

Expected<void> carry_elf(const fs::path& program, GuestExtras& extras, const std::string& what)
{
    if (const auto needs = vm::read_elf_needs(program); !needs)
        return failed(reports::exit_usage, fmt::format("{}: {}", what, needs.error().message));
    if (const auto libraries = vm::library_closure(program); !libraries)
        return failed(reports::exit_no_run, fmt::format("{}: {}", what, libraries.error().message));
    add_program(extras, program);
    return {};
}

// The program at exactly the path where a script's first line looks for it.
Expected<void> carry_interpreter(const fs::path& script, const std::string& path, GuestExtras& extras,
                                 const std::string& what)
{
    if (::access(path.c_str(), X_OK) != 0)
        return failed(
            reports::exit_no_run,
            fmt::format("{}: {} is a script for {}, which is not on this machine: install it, or mend the "
                        "script's first line",
                        what, script.string(), path));
    if (auto done = carry_elf(path, extras, what); !done)
        return done;
    const auto usual = "/bin/" + fs::path(path).filename().string();
    if (path != usual)
        extras.files.emplace_back(path, path);
    return {};
}

Expected<void> carry_script(const fs::path& script, const std::string& first_line, GuestExtras& extras,
                            const std::string& what)
{
    std::istringstream words(first_line.substr(2));
    std::string interpreter, argument;
    words >> interpreter >> argument;
    if (interpreter.empty())
        return no_program(what, script, "is a script that names no interpreter: mend its first line");
    if (auto done = carry_interpreter(script, interpreter, extras, what); !done)
        return done;
    if (fs::path(interpreter).filename() == "env" && !argument.empty()) {
        const auto found = vm::find_program(argument);
        if (!found)
            return failed(reports::exit_no_run,
                          fmt::format("{}: {} is a script for {}, which is not on this machine: install it",
                                      what, script.string(), argument));
        if (auto done = carry_elf(*found, extras, what); !done)
            return done;
    }
    extras.files.emplace_back(script, "/bin/" + script.filename().string());
    return {};
}

} // namespace

Expected<void> carry(Words& words, GuestExtras& extras, const std::string& what)
{
    const auto program = find(words.front(), what);
    if (!program)
        return std::unexpected(program.error());
    std::ifstream file(*program, std::ios::binary);
    std::string first_line;
    if (file.peek() == '#')
        std::getline(file, first_line);
    const auto done = first_line.starts_with("#!") ? carry_script(*program, first_line, extras, what)
                                                   : carry_elf(*program, extras, what);
    words.front() = "/bin/" + program->filename().string();
    return done;
}

Expected<void> carry_file(const std::string& pair, GuestExtras& extras)
{
    const auto colon = pair.rfind(':');
    const auto wrong = [&](std::string_view why) {
        return failed(reports::exit_usage, fmt::format("--file '{}': {}", pair, why));
    };
    if (colon == std::string::npos)
        return wrong("give HOST:GUEST, a file here and its path in the guest");
    const fs::path host = pair.substr(0, colon);
    const auto guest = pair.substr(colon + 1);
    std::error_code ec;
    if (!fs::is_regular_file(host, ec) || ::access(host.c_str(), R_OK) != 0)
        return wrong("the file cannot be read here");
    if (!guest.starts_with('/') || guest.ends_with('/') || guest.contains("/../"))
        return wrong("the path in the guest must be absolute and name a file");
    extras.files.emplace_back(host, guest);
    return {};
}

Expected<Words> cut_words(const std::string& text, const std::string& what)
{
    Words words;
    std::string word;
    bool begun = false;
    char quote = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quote != 0 ? c == quote : c == '\'' || c == '"') {
            quote = quote != 0 ? '\0' : c;
            begun = true;
        } else if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
            word += text[++i];
            begun = true;
        } else if (quote == 0 && (c == ' ' || c == '\t' || c == '\n')) {
            if (begun)
                words.push_back(std::move(word));
            word.clear();
            begun = false;
        } else {
            word += c;
            begun = true;
        }
    }
    if (quote != 0)
        return failed(reports::exit_usage, fmt::format("{} '{}': a quote is open", what, text));
    if (begun)
        words.push_back(std::move(word));
    if (words.empty())
        return failed(reports::exit_usage, fmt::format("{} '{}': give a command", what, text));
    return words;
}

} // namespace conformance
