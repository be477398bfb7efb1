// Suite "integrity": ublk-serve with memory that the case shares with it. What is written from that memory,
// or read into it, is held against what goes the ordinary way; the server's counters tell which way was
// taken.
#include "conformance/driver/case.hpp"
#include "conformance/server/served_disk.hpp"
#include "conformance/server/suite.hpp"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sys/mman.h>

namespace conformance {

namespace {

const auto shares_memory = needs(Feature::shmem_zc);
constexpr std::size_t shared_bytes = 4 << 20;

// Memory with a name that another process can open.
class Shared {
  public:
    explicit Shared(unsigned flags = 0)
        : fd_(::memfd_create("application", MFD_CLOEXEC | flags)), bytes_(shared_bytes)
    {
        if (!fd_ || ::ftruncate(fd_.get(), static_cast<off_t>(bytes_)) != 0)
            return;
        void* base = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
        base_ = base == MAP_FAILED ? nullptr : static_cast<std::byte*>(base);
    }
    ~Shared()
    {
        if (base_ != nullptr)
            ::munmap(base_, bytes_);
    }
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;

    bool is_there() const { return base_ != nullptr; }
    std::string path() const { return fmt::format("/proc/{}/fd/{}", ::getpid(), fd_.get()); }
    std::span<std::byte> at(std::size_t offset, std::size_t bytes) const { return {base_ + offset, bytes}; }

  private:
    Fd fd_;
    std::byte* base_ = nullptr;
    std::size_t bytes_;
};

std::vector<std::string> sharing(const Shared& memory, std::vector<std::string> more)
{
    more.insert(more.end(), {"--data-path", "shmem", "--shmem", memory.path()});
    return more;
}

// Of all queues of device 7, since its start.
std::uint64_t served_from_shared_memory()
{
    constexpr const char* file = "/tmp/counters.json";
    must_run({"ublk-serve", "top", "--json", file});
    std::ifstream stream(file);
    const auto counters = nlohmann::json::parse(stream, nullptr, false);
    std::uint64_t all = 0;
    if (!counters.is_discarded())
        for (const auto& queue : counters["devices"].at(0)["queues"])
            all += queue["shared"].get<std::uint64_t>();
    return all;
}

// Random requests of up to 64 KiB from and into shared memory and memory of the application's own, over a
// disk that begins as `image`; each read must agree with a plain copy.
void mixed_requests(const ServedDisk& disk, const Shared& memory, std::vector<std::byte>& image,
                    unsigned requests)
{
    std::mt19937_64 random(5);
    constexpr std::size_t most = 64 * 1024;
    const Buffer own(most);
    std::uint64_t in_shared = 0;
    for (unsigned i = 0; i < requests; ++i) {
        const std::size_t bytes = (1 + random() % (most / 512)) * 512;
        const std::size_t place = random() % ((image.size() - bytes) / 512 + 1) * 512;
        const bool shared = random() % 2 == 0, write = random() % 2 == 0;
        const std::size_t at = random() % ((shared_bytes - bytes) / 512 + 1) * 512;
        const auto buffer = shared ? memory.at(at, bytes) : own.first(bytes);
        in_shared += shared ? 1U : 0U;
        const auto content = std::span(image).subspan(place, bytes);
        if (write) {
            fill(buffer, random());
            expect_eq(static_cast<long>(bytes), disk.write(place / 512, buffer), "bytes written");
            std::ranges::copy(buffer, content.begin());
        } else {
            std::ranges::fill(buffer, std::byte{0xee});
            expect_eq(static_cast<long>(bytes), disk.read(place / 512, buffer), "bytes read");
            expect_true(std::ranges::equal(buffer, content),
                        fmt::format("request {}: {} bytes at {}, {}", i, bytes, place,
                                    shared ? "into shared memory" : "into memory of its own"));
        }
    }
    expect_eq(in_shared, served_from_shared_memory(), "requests that the server served in shared memory");
}

void shared_image(std::vector<std::string> arguments, unsigned memfd_flags = 0)
{
    constexpr std::size_t size = 8 << 20;
    const Shared memory(memfd_flags);
    if (!memory.is_there())
        skip("needs memory of this kind, which this machine does not give");
    std::vector<std::byte> image(size);
    ServedDisk disk(sharing(memory, std::move(arguments)));
    const Buffer all(size);
    fill(all.span(), 4);
    expect_eq(static_cast<long>(size), disk.write(0, all.span()), "bytes of the first image");
    std::ranges::copy(all.span(), image.begin());
    expect_eq(0UL, served_from_shared_memory(), "requests in shared memory before there are any");
    mixed_requests(disk, memory, image, 300);
    drop_caches();
    expect_eq(md5_of(std::span<const std::byte>(image)), md5_of(disk.path(), true), "MD5 of the device");
    disk.stop();
}

void make_file()
{
    std::vector<std::byte> content(8 << 20);
    std::ofstream("/tmp/shared.img", std::ios::binary)
        .write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
}

} // namespace

CASE("INTEGRITY-SHMEM-001", contract,
     "a memory disk keeps what is written from shared memory and from elsewhere, and reads into both",
     integrity_suite, shares_memory, timeout(120s))
{
    shared_image({"--type", "memory", "--size", "8M", "--queues", "2", "--depth", "16", "--paranoid"});
}

CASE("INTEGRITY-SHMEM-002", contract, "a file disk does the same, with operations on its queues' rings",
     integrity_suite, shares_memory, timeout(120s))
{
    make_file();
    shared_image({"--type", "file", "--file", "/tmp/shared.img", "--queues", "2", "--depth", "16"});
    shared_image(
        {"--type", "file", "--file", "/tmp/shared.img", "--depth", "8", "--with", "delay:rate=0,time=1ms"});
}

CASE("INTEGRITY-SHMEM-003", contract, "the shared memory may be of huge pages", integrity_suite,
     shares_memory, timeout(120s))
{
    std::ofstream("/proc/sys/vm/nr_hugepages") << 4;
    shared_image({"--type", "memory", "--size", "8M"}, MFD_HUGETLB);
}

CASE("INTEGRITY-SHMEM-004", contract, "what cannot be shared is refused with a message that says so",
     integrity_suite)
{
    std::ofstream("/tmp/odd.img") << "not a page";
    for (const auto& [path, says] :
         {std::pair("/tmp/odd.img", "multiple of"), std::pair("/dev/zero", "tmpfs or hugetlbfs"),
          std::pair("/tmp/none.img", "ENOENT")}) {
        const auto ended = run_program({"ublk-serve", "add", "--type", "memory", "--shmem", path});
        expect_eq(1, ended.status, "exit status");
        expect_true(ended.output.contains(path) && ended.output.contains(says),
                    fmt::format("the message names {} and says '{}': {}", path, says, ended.output));
    }
}

} // namespace conformance
