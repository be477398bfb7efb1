#include "conformance/server/modules.hpp"

#include "conformance/driver/driver.hpp"

#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <linux/module.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace conformance {

void need_module(const std::string& name)
{
    namespace fs = std::filesystem;
    const fs::path folder = fs::path("/on-demand") / name; // see guest_image.cpp
    std::error_code ec;
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder, ec))
        files.push_back(entry.path());
    if (files.empty())
        skip(fmt::format("needs the module {}, which this kernel lacks", name));
    std::ranges::sort(files);
    for (const auto& file : files) {
        const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
        const int flags = file.extension() == ".ko" ? 0 : MODULE_INIT_COMPRESSED_FILE;
        const long res = sys(::syscall(SYS_finit_module, fd.get(), "", flags));
        if (res != 0 && res != -EEXIST)
            skip(fmt::format("needs the module {}: loading {} gave {}", name, file.filename().string(),
                             result_text(res)));
    }
}

} // namespace conformance
