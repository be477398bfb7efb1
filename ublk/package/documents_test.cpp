// The manual page and the completion, held against what the program says of itself.
#include "ublk/serve/cli.hpp"

#include <cstdio>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <unistd.h>

namespace ublk::serve {
namespace {

using ::testing::IsSupersetOf;
using Words = std::set<std::string>;

std::string help_of(std::vector<std::string> args)
{
    args.emplace_back("--help");
    const auto shown = parse(std::move(args));
    return shown ? std::string() : shown.error().text;
}

Words found(const std::string& text, const char* pattern)
{
    Words words;
    const std::regex regex(pattern);
    for (std::sregex_iterator at(text.begin(), text.end(), regex), end; at != end; ++at)
        words.insert((*at)[1]);
    return words;
}

Words options_of(const std::string& command)
{
    return found(help_of({command}), "\n  (?:-h,)?(--[a-z-]+)");
}

Words commands()
{
    const std::string help = help_of({});
    return found(help.substr(help.find("Subcommands:")), "\n  ([a-z]+) ");
}

std::string read(const std::string& name)
{
    std::ifstream file(std::string(UBLK_PACKAGE_DIR) + "/" + name);
    return {std::istreambuf_iterator<char>(file), {}};
}

// What bash offers after the words, with this build's ublk-serve in its path.
Words completed(const std::string& words)
{
    std::istringstream line(words);
    std::string array;
    int count = 0;
    for (std::string word; line >> word; ++count)
        array += "'" + word + "' ";
    const bool next = words.ends_with(' ');
    const std::string script =
        "PATH='" UBLK_BIN_DIR "':$PATH; . '" UBLK_PACKAGE_DIR "/ublk-serve.bash'; COMP_WORDS=(" + array +
        (next ? "''" : "") + "); COMP_CWORD=" + std::to_string(next ? count : count - 1) +
        "; _ublk_serve; printf '%s\\n' \"${COMPREPLY[@]}\"";
    const std::string file = ::testing::TempDir() + "completion-" + std::to_string(::getpid());
    std::ofstream(file) << script;
    std::FILE* shell = ::popen(("bash '" + file + "'").c_str(), "r");
    std::string output;
    for (int c = 0; shell != nullptr && (c = std::fgetc(shell)) != EOF;)
        output += static_cast<char>(c);
    EXPECT_EQ(::pclose(shell), 0) << script;
    ::unlink(file.c_str());
    return found("\n" + output, "\n([^\n]+)");
}

TEST(Manual, HasEveryCommandAndOption)
{
    std::string page = read("ublk-serve.8");
    page = std::regex_replace(page, std::regex(R"(\\-)"), "-");
    const Words sections = found(page, "\n\\.SS ([a-z]+)\n");
    EXPECT_EQ(sections, commands());
    ASSERT_FALSE(sections.empty());
    for (const auto& command : sections) {
        const auto begin = page.find("\n.SS " + command + "\n") + 1;
        const auto section = page.substr(begin, page.find("\n.S", begin) - begin);
        Words documented = found(section, "(--[a-z-]+)");
        documented.insert("--help"); // of all commands, in the description
        EXPECT_THAT(documented, IsSupersetOf(options_of(command))) << command;
    }
    EXPECT_NE(page.find("--help"), std::string::npos);
}

TEST(Completion, OffersEveryCommandAndOptionAndNothingElse)
{
    Words first = commands();
    first.insert("--help");
    EXPECT_EQ(completed("ublk-serve "), first);
    EXPECT_EQ(completed("ublk-serve st"), Words{"stop"});
    for (const auto& command : commands())
        EXPECT_EQ(completed("ublk-serve " + command + " --"), options_of(command)) << command;
    EXPECT_EQ(completed("ublk-serve add --type memory --dir"), Words{"--direct"});
}

TEST(Completion, OffersValuesThatTheProgramTakes)
{
    for (const char* option : {"--type", "--data-path", "--log-level", "--block-size", "--integrity"}) {
        const auto values = completed(std::string("ublk-serve add ") + option + " ");
        EXPECT_GE(values.size(), 2U) << option;
        for (const auto& value : values) {
            std::vector<std::string> line{"add", option, value};
            if (std::string_view(option) != "--type")
                line.insert(line.end(), {"--type", "memory"});
            if (value == "shmem")
                line.insert(line.end(), {"--shmem", "x"});
            if (value == "file")
                line.insert(line.end(), {"--file", "x"});
            EXPECT_TRUE(parse(line).has_value()) << option << ' ' << value;
        }
    }
}

} // namespace
} // namespace ublk::serve
