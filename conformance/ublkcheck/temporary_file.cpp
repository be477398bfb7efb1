#include "conformance/ublkcheck/temporary_file.hpp"

#include "vm/cache.hpp"

#include <cstdlib>
#include <fmt/format.h>
#include <system_error>
#include <unistd.h>

namespace conformance {

namespace fs = std::filesystem;

Expected<TemporaryFile> TemporaryFile::write(std::string_view name, std::string_view content)
{
    std::error_code ec;
    const auto directory = fs::temp_directory_path(ec);
    if (ec)
        return failed(
            reports::exit_no_run,
            fmt::format("there is no directory for temporary files: {}; set TMPDIR to one", ec.message()));
    auto path = (directory / fmt::format("{}-XXXXXX", name)).string();
    const int fd = ::mkstemp(path.data());
    if (fd < 0)
        return failed(reports::exit_no_run, fmt::format("{}: {}; set TMPDIR to a directory that is writable",
                                                        path, std::generic_category().message(errno)));
    ::close(fd);
    TemporaryFile file(path);
    if (auto written = vm::write_file(path, content); !written)
        return failed(written.error());
    return file;
}

TemporaryFile::~TemporaryFile()
{
    std::error_code ignored;
    if (!path_.empty())
        fs::remove(path_, ignored);
}

} // namespace conformance
