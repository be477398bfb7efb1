#include "conformance/endurance/footprint.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <sstream>

namespace conformance::endurance {

namespace {

constexpr double page = 4096;

std::vector<std::string> lines_of(std::string_view text)
{
    std::vector<std::string> lines;
    std::istringstream stream{std::string(text)};
    for (std::string line; std::getline(stream, line);)
        lines.push_back(line);
    return lines;
}

} // namespace

std::vector<std::string> leaks(const Footprint& before, const Footprint& after, unsigned cycles)
{
    std::vector<std::pair<double, std::string>> found; // how far beyond what is allowed
    for (const auto& [name, now] : after) {
        const auto then = before.find(name);
        const double grown = now.amount - (then == before.end() ? 0 : then->second.amount);
        const double allowed = now.each * cycles + now.once;
        if (grown > allowed)
            found.emplace_back(grown / std::max(allowed, 1.0),
                               fmt::format("{} grew by {:.0f} over {} cycles, at most {:.0f} are allowed",
                                           name, grown, cycles, allowed));
    }
    std::ranges::sort(found, std::greater());
    std::vector<std::string> sentences;
    sentences.reserve(found.size());
    for (auto& [beyond, sentence] : found)
        sentences.push_back(std::move(sentence));
    return sentences;
}

void add_mappings(Footprint& footprint, std::string_view maps)
{
    for (const auto& line : lines_of(maps)) {
        // address, permissions, offset, device, inode, name
        std::istringstream words(line);
        std::string word, name;
        for (int i = 0; i < 5; ++i)
            words >> word;
        std::getline(words >> std::ws, name);
        if (name.contains("io_uring") || name.contains("/dev/ublk"))
            ++footprint[fmt::format("mappings of {}", name)].amount;
    }
}

double bytes_of(std::string_view file, std::string_view name)
{
    for (const auto& line : lines_of(file)) {
        std::istringstream words(line);
        std::string word, unit;
        double amount = 0;
        if (words >> word >> amount >> unit && word == fmt::format("{}:", name) && unit == "kB")
            return amount * 1024;
    }
    return 0;
}

void add_kernel_memory(Footprint& footprint, std::string_view meminfo)
{
    // A quarter of a page for each cycle is less than the least that leaks by pages. What comes once is what
    // the kernel keeps for its next need, in lists of each CPU or where a slab or a chunk is not yet empty.
    constexpr double each = page / 4;
    struct Kind {
        const char* name;
        double once;
    };
    constexpr std::array kinds{Kind{"Slab", 512 * 1024}, Kind{"Percpu", 128 * 1024},
                               Kind{"KernelStack", 64 * 1024}, Kind{"PageTables", 64 * 1024},
                               Kind{"VmallocUsed", 128 * 1024}};
    double known = 0;
    for (const auto& kind : kinds) {
        const double amount = bytes_of(meminfo, kind.name);
        known += amount;
        footprint[fmt::format("bytes of the kernel's {}", kind.name)] = {amount, each, kind.once};
    }
    for (const char* user : {"MemFree", "Buffers", "Cached", "AnonPages"})
        known += bytes_of(meminfo, user);
    footprint["bytes of kernel pages of no kind"] = {bytes_of(meminfo, "MemTotal") - known, each,
                                                     2 * 1024 * 1024};
}

void add_slab_objects(Footprint& footprint, std::string_view slabinfo)
{
    // Of a thousand cycles one object in every second is found. Once: free objects that each CPU keeps
    // (sheaves of 60) are counted as used. Areas of vmalloc that were freed wait until there are 32 MiB of
    // them for each CPU, of two pages at least; those that nobody frees are found in VmallocUsed.
    constexpr double each = 0.1, once = 400, areas_once = 32768;
    for (const auto& line : lines_of(slabinfo)) {
        std::istringstream words(line);
        std::string name;
        double active = 0;
        if (words >> name >> active && name != "#")
            footprint[fmt::format("objects of the kernel's {}", name)] = {
                active, each, name == "vmap_area" ? areas_once : once};
    }
}

} // namespace conformance::endurance
