// Runs a fuzz target once over each file of the folders named on the command line, without a fuzzer: so that
// the seeds, and every input that once failed, are ordinary tests under any compiler and sanitizer.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include <fmt/format.h>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

bool replay(const std::filesystem::path& path)
{
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        fmt::print(stderr, "replay: {}: cannot be read\n", path.string());
        return false;
    }
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    const std::vector<std::uint8_t> input(bytes.begin(), bytes.end());
    // Said before it runs, so that the last line of a crash names the input.
    fmt::print("{} ({} bytes)\n", path.filename().string(), input.size());
    std::fflush(stdout);
    LLVMFuzzerTestOneInput(input.data(), input.size());
    return true;
}

} // namespace

int main(int argc, char** argv)
{
    std::size_t inputs = 0;
    for (int i = 1; i < argc; ++i) {
        std::error_code error;
        for (const auto& entry : std::filesystem::directory_iterator(argv[i], error)) {
            if (!replay(entry.path()))
                return 1;
            ++inputs;
        }
        if (error) {
            fmt::print(stderr, "replay: {}: {}\n", argv[i], error.message());
            return 1;
        }
    }
    if (inputs == 0) {
        fmt::print(stderr, "replay: no inputs; name folders that hold some\n");
        return 1;
    }
    fmt::print("{} inputs\n", inputs);
    return 0;
}
