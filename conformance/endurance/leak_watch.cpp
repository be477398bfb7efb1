#include "conformance/endurance/leak_watch.hpp"

#include <array>
#include <filesystem>
#include <fmt/ranges.h>
#include <fstream>
#include <iterator>
#include <malloc.h>
#include <unistd.h>

namespace conformance::endurance {

namespace {

namespace fs = std::filesystem;

std::string content(const char* path)
{
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// What is only being freed is freed, and caches are emptied, so that what is left is held by somebody.
void settle()
{
    constexpr unsigned rounds = 3, a_while = 1; // s: grace periods, work queues
    std::error_code ec;
    for (unsigned round = 0; round < rounds; ++round) {
        ::sync();
        ::sleep(a_while);
        std::ofstream("/proc/sys/vm/drop_caches") << 3;
        for (const auto& cache : fs::directory_iterator("/sys/kernel/slab", ec))
            std::ofstream(cache.path() / "shrink") << 1;
        std::ofstream("/proc/sys/vm/compact_memory") << 1; // empties the lists of free pages of each CPU
    }
}

void add_descriptors(Footprint& footprint)
{
    std::error_code ec;
    for (const auto& fd : fs::directory_iterator("/proc/self/fd", ec))
        ++footprint[fmt::format("descriptors of {}", fs::read_symlink(fd.path(), ec).string())].amount;
}

void add_kernel(Footprint& footprint)
{
    const auto meminfo = content("/proc/meminfo"), slabinfo = content("/proc/slabinfo");
    if (bytes_of(meminfo, "Slab") == 0 || bytes_of(meminfo, "Percpu") == 0 || slabinfo.empty())
        skip("needs /proc/slabinfo, and Slab and Percpu in /proc/meminfo");
    add_kernel_memory(footprint, meminfo);
    add_slab_objects(footprint, slabinfo);
}

void add_process(Footprint& footprint)
{
    // malloc() gives 32 bytes at least, so that one piece in every eighth of a thousand cycles is found. It
    // counts what a thread keeps for its next call as in use: that comes once.
    constexpr double heap_each = 1, heap_once = 1024;
    // For memory that does not come from malloc(), page by page.
    constexpr double resident_each = 1024, resident_once = 256 * 1024;
    add_descriptors(footprint);
    add_mappings(footprint, content("/proc/self/maps"));
    std::error_code ec;
    const auto threads = std::distance(fs::directory_iterator("/proc/self/task", ec), {});
    footprint["threads"].amount = static_cast<double>(threads);
    footprint["bytes resident"] = {bytes_of(content("/proc/self/status"), "VmRSS"), resident_each,
                                   resident_once};
    footprint["bytes of heap"] = {0, heap_each, heap_once};
    const auto heap = ::mallinfo2(); // last: all of the above is in place
    footprint["bytes of heap"].amount = static_cast<double>(heap.uordblks + heap.hblkhd);
}

} // namespace

LeakWatch::LeakWatch(Scope scope) : scope_(scope)
{
    constexpr int often =
        4; // then, as in check(), one is there while another is taken, and malloc() is used to it
    if (scope_ == Scope::process_and_kernel)
        settle();
    for (int i = 0; i < often; ++i)
        before_ = take();
}

Footprint LeakWatch::take() const
{
    Footprint footprint;
    if (scope_ == Scope::process_and_kernel)
        add_kernel(footprint);
    add_process(footprint);
    return footprint;
}

void LeakWatch::check(unsigned cycles, Where where)
{
    constexpr std::size_t most = 8; // sentences
    after_.clear();
    if (scope_ == Scope::process_and_kernel)
        settle();
    after_ = take();
    auto found = leaks(before_, after_, cycles);
    if (found.size() > most)
        found.resize(most);
    if (!found.empty())
        fail("what is held does not grow with the number of cycles",
             fmt::format("{}", fmt::join(found, "; ")), where);
    count_check();
}

double LeakWatch::grown(const std::string& name) const
{
    const auto amount = [&name](const Footprint& footprint) {
        const auto found = footprint.find(name);
        return found == footprint.end() ? 0 : found->second.amount;
    };
    return amount(after_) - amount(before_);
}

} // namespace conformance::endurance
