#include "vm/accel.hpp"

#include "vm/file_io.hpp"
#include "vm/initramfs.hpp"
#include "vm/machine.hpp"
#include "vm/process.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace vm {
namespace {

constexpr auto trial_time = 20s;

// Why /dev/kvm cannot even be tried; empty when it opens.
std::string kvm_unusable()
{
    const UniqueFd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
    if (kvm)
        return {};
    if (errno == ENOENT)
        return "no /dev/kvm";
    if (errno == EACCES || errno == EPERM)
        return "no permission for /dev/kvm: add your user to its group";
    return fmt::format("/dev/kvm: {}", std::strerror(errno));
}

// Boots and waits for a sign of life: empty when there was one, else why not.
Result<std::string> trial_boot(const QemuProgram& qemu, const fs::path& image, const fs::path& initramfs,
                               const fs::path& work_dir)
{
    auto machine = Machine::boot({.image = image,
                                  .initramfs = initramfs,
                                  .work_dir = work_dir,
                                  .accel = Accel::kvm,
                                  .extra_cmdline = "loglevel=8", // so that even a quiet kernel speaks at once
                                  .qemu = qemu.path});
    if (!machine) {
        if (machine.error().kind == Error::Kind::usage)
            return std::unexpected(machine.error());
        auto why = machine.error().message;
        return "KVM opens here, but " + why.substr(0, std::min<std::size_t>(why.find('\n'), 200));
    }
    const auto deadline = std::chrono::steady_clock::now() + trial_time;
    while (std::chrono::steady_clock::now() < deadline) {
        const auto outcome = machine->read_line(100ms);
        if (outcome.kind == ReadOutcome::Kind::line || !machine->console_since_restore().empty())
            return "";
        if (outcome.kind != ReadOutcome::Kind::timeout)
            break;
    }
    return "KVM opens here but does not boot this kernel";
}

// What the trial's answer depends on.
std::string cache_key(const QemuProgram& qemu, const fs::path& image)
{
    std::string boot_id;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> boot_id;
    // Device, inode, size and change time stand for the image's bytes; a copy costs one more trial.
    struct stat info{};
    ::stat(image.c_str(), &info);
    return fmt::format("{} {} {}:{}:{}:{}.{}", boot_id, qemu.version, info.st_dev, info.st_ino, info.st_size,
                       info.st_ctim.tv_sec, info.st_ctim.tv_nsec);
}

using Cache = nlohmann::json; // {key: why KVM does not work, "" when it does}

Cache read_cache(const fs::path& file)
{
    const auto text = read_file(file);
    auto cache = text ? Cache::parse(*text, nullptr, false) : Cache();
    return cache.is_object() ? cache : Cache::object();
}

void write_cache(const fs::path& file, const Cache& cache)
{
    // A cache that cannot be written costs a trial the next time.
    const auto temporary = fs::path(fmt::format("{}.{}.tmp", file.string(), getpid()));
    std::ofstream(temporary) << cache.dump(1) << '\n';
    std::error_code ignored;
    fs::rename(temporary, file, ignored);
}

Result<std::string> why_no_kvm(const fs::path& image, const fs::path& initramfs, const fs::path& cache_dir)
{
    if (auto why = kvm_unusable(); !why.empty())
        return why;
    const auto qemu = find_qemu();
    if (!qemu)
        return std::unexpected(qemu.error());
    std::error_code ignored;
    fs::create_directories(cache_dir, ignored);
    const auto file = cache_dir / "accel.json";
    const auto key = cache_key(*qemu, image);
    if (const auto known = read_cache(file); known.contains(key) && known[key].is_string())
        return known[key].get<std::string>();
    const auto work_dir = cache_dir / fmt::format("kvm-trial.{}", getpid());
    auto why = trial_boot(*qemu, image, initramfs, work_dir);
    fs::remove_all(work_dir, ignored);
    if (why) {
        auto cache = read_cache(file);
        cache[key] = *why;
        write_cache(file, cache);
    }
    return why;
}

} // namespace

std::string_view to_string(Accel accel)
{
    return accel == Accel::kvm ? "KVM" : "TCG";
}

Result<QemuProgram> find_qemu(const fs::path& given)
{
    auto path = find_program(given.empty() ? fs::path("qemu-system-x86_64") : given);
    if (!path)
        return std::unexpected(path.error());
    std::string pattern = (fs::temp_directory_path() / "qemu-version-XXXXXX").string();
    const UniqueFd output(::mkostemp(pattern.data(), O_CLOEXEC));
    auto process = Process::spawn(*path, {"--version"}, {}, pattern);
    std::string text;
    if (process) {
        pollfd ended{process->exit_fd(), POLLIN, 0};
        ::poll(&ended, 1, 10'000);
        text = read_file(pattern).value_or("");
    }
    ::unlink(pattern.c_str());
    if (!process)
        return std::unexpected(process.error());
    // "QEMU emulator version 7.2.22 (Debian ...)"
    constexpr std::string_view before = "version ";
    const auto at = text.find(before);
    if (at == std::string::npos)
        return unavailable(fmt::format("{} does not say its version: reinstall the package qemu-system-x86",
                                       path->string()));
    const auto rest = text.substr(at + before.size());
    return QemuProgram{std::move(*path), rest.substr(0, rest.find_first_of(" \n("))};
}

Result<AccelChoice> choose_accel(AccelRequest request, const fs::path& image, const fs::path& initramfs,
                                 const fs::path& cache_dir)
{
    if (auto qemu = find_program("qemu-system-x86_64"); !qemu)
        return std::unexpected(qemu.error());
    if (request == AccelRequest::tcg)
        return AccelChoice{Accel::tcg, "TCG (as asked)"};
    auto why = why_no_kvm(image, initramfs, cache_dir);
    if (!why)
        return std::unexpected(why.error());
    if (why->empty())
        return AccelChoice{Accel::kvm, "KVM"};
    if (request == AccelRequest::kvm)
        return unavailable(
            fmt::format("KVM was asked for and is not usable ({}): use --accel tcg or auto", *why));
    return AccelChoice{Accel::tcg, fmt::format("TCG ({})", *why)};
}

} // namespace vm
