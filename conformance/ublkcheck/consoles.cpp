#include "conformance/ublkcheck/consoles.hpp"

#include <fmt/format.h>
#include <fstream>
#include <set>
#include <string>

namespace conformance {

namespace fs = std::filesystem;

namespace {

// The last bytes of a file, from the start of a line on when something was left out.
std::string end_of(const fs::path& file)
{
    std::ifstream in(file, std::ios::binary | std::ios::ate);
    if (!in)
        return {};
    const auto size = static_cast<std::size_t>(in.tellg());
    const auto kept = std::min(size, console_bytes_kept);
    in.seekg(static_cast<std::streamoff>(size - kept));
    std::string text(kept, '\0');
    in.read(text.data(), static_cast<std::streamsize>(kept));
    text.resize(static_cast<std::size_t>(in.gcount()));
    if (size == kept)
        return text;
    const auto line = text.find('\n');
    text.erase(0, line == std::string::npos ? 0 : line + 1);
    return fmt::format("[... {} bytes left out ...]\n{}", size - text.size(), text);
}

} // namespace

void keep_consoles(const fs::path& machines, const fs::path& file)
{
    std::error_code ignored;
    std::set<fs::path> workers;
    for (const auto& entry : fs::directory_iterator(machines, ignored))
        if (fs::is_regular_file(entry.path() / "console.log", ignored))
            workers.insert(entry.path());
    std::string text;
    for (const auto& worker : workers)
        text += fmt::format("==== {}\n{}\n", worker.filename().string(), end_of(worker / "console.log"));
    fs::remove_all(machines, ignored); // first: it may be what fills the disk
    if (!text.empty())
        std::ofstream(file, std::ios::binary | std::ios::app) << text;
}

Failed discard_run(reports::RunDir& dir, Failed why)
{
    const auto console = dir.path().parent_path() / "failed-boot.log";
    std::error_code ec;
    fs::rename(dir.path() / "console.log", console, ec);
    dir.discard();
    if (!ec)
        why.message += fmt::format("; its console is in {}", console.string());
    return why;
}

} // namespace conformance
