#include "perf/load/generator.hpp"

#include "perf/load/markers.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <liburing.h>
#include <linux/fs.h>
#include <memory>
#include <sys/ioctl.h>
#include <unistd.h>
#include <x86intrin.h>

namespace perf {

namespace {

std::unexpected<std::string> failed(const std::string& disk, const std::string& step, int error)
{
    return std::unexpected(disk + ": " + step + ": " + std::strerror(error));
}

std::uint64_t task_switches()
{
    std::ifstream stat("/proc/stat");
    for (std::string word; stat >> word;)
        if (std::uint64_t count = 0; word == "ctxt" && stat >> count)
            return count;
    return 0;
}

template <std::uint32_t Marker>
void mark()
{
    static_assert(marker_opcode[0] == 0x0f && marker_opcode[1] == 0x1f && marker_opcode[2] == 0x80);
    asm volatile(".byte 0x0f, 0x1f, 0x80\n\t.long %c0" : : "i"(Marker));
}

// The time that all CPUs were idle since boot. /proc/stat would round it to ticks.
std::uint64_t idle_nanoseconds()
{
    std::ifstream list("/proc/timer_list");
    std::uint64_t sum = 0;
    for (std::string line; std::getline(list, line);) {
        const auto name = line.find(".idle_sleeptime");
        const auto colon = line.find(':', name == line.npos ? 0 : name);
        if (name != line.npos && colon != line.npos)
            sum += std::strtoull(line.c_str() + colon + 1, nullptr, 10);
    }
    return sum;
}

// Returns at a multiple of 20 ms (and some constant) of the time stamp counter, to the instruction when that
// counts instructions. QEMU moves the clock of an idle guest from its own thread: when that meets the guest
// going to sleep, the clock is off by some instructions, and the timer's ticks would fall elsewhere in what
// is counted.
void align_with_ticks()
{
    constexpr std::uint64_t period = 20'000'000;
    constexpr std::uint64_t sled = 256; // bytes of nop
    for (int attempt = 0; attempt < 100; ++attempt) {
        const std::uint64_t now = __rdtsc();
        const std::uint64_t target = now - now % period + period;
        while (__rdtsc() + sled < target) {
        }
        const std::uint64_t left = target - __rdtsc();
        if (left > sled)
            continue; // an interrupt, or a counter that does not count instructions
        asm volatile("lea 1f(%%rip), %%rax\n\t"
                     "sub %0, %%rax\n\t"
                     "jmp *%%rax\n\t"
                     ".fill %c1, 1, 0x90\n"
                     "1:"
                     :
                     : "r"(left), "i"(sled)
                     : "rax", "cc");
        return;
    }
}

// splitmix64: small, and the same everywhere, which no standard distribution is.
class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next()
    {
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15U;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
        return z ^ (z >> 31);
    }

  private:
    std::uint64_t state_;
};

class Generator {
  public:
    Generator(const GeneratorJob& job, int fd, std::uint64_t blocks, io_uring& ring, char* buffers)
        : job_(job), fd_(fd), blocks_(blocks), ring_(ring), buffers_(buffers), random_(job.seed)
    {
    }

    // 0, or what went wrong: positive errno.
    int run()
    {
        const std::uint64_t end = job_.warm_up + job_.ios;
        for (unsigned slot = 0; slot < job_.depth; ++slot)
            prepare(slot);
        while (completed_ < end) {
            if (const int res = io_uring_submit_and_wait(&ring_, 1); res < 0 && res != -EINTR)
                return -res;
            if (const int error = take(end); error != 0)
                return error;
        }
        return 0;
    }
    std::uint64_t ticks() const { return last_ - first_; }

  private:
    void prepare(unsigned slot)
    {
        io_uring_sqe* sqe = io_uring_get_sqe(&ring_); // one entry for each slot: there is always one
        const std::uint64_t draw = random_.next();
        const std::uint64_t place = job_.random ? (draw >> 8) % blocks_ : started_ % blocks_;
        char* buffer = buffers_ + std::size_t{slot} * job_.block;
        if (draw % 100 < job_.write_percent)
            io_uring_prep_write(sqe, fd_, buffer, job_.block, place * job_.block);
        else
            io_uring_prep_read(sqe, fd_, buffer, job_.block, place * job_.block);
        io_uring_sqe_set_data64(sqe, slot);
        ++started_;
    }

    int take(std::uint64_t end)
    {
        unsigned head = 0, seen = 0;
        int error = 0;
        io_uring_cqe* cqe = nullptr;
        io_uring_for_each_cqe(&ring_, head, cqe)
        {
            ++seen;
            if (cqe->res != static_cast<int>(job_.block)) {
                error = cqe->res < 0 ? -cqe->res : EIO;
                break;
            }
            ++completed_;
            if (completed_ == job_.warm_up) {
                first_ = __rdtsc();
                if (job_.marked)
                    mark<marker_begin>();
            }
            if (completed_ == end) {
                if (job_.marked)
                    mark<marker_end>();
                last_ = __rdtsc();
            }
            if (started_ < end)
                prepare(static_cast<unsigned>(cqe->user_data));
        }
        io_uring_cq_advance(&ring_, seen);
        return error;
    }

    const GeneratorJob& job_;
    int fd_;
    std::uint64_t blocks_;
    io_uring& ring_;
    char* buffers_;
    Random random_;
    std::uint64_t started_ = 0, completed_ = 0, first_ = 0, last_ = 0;
};

} // namespace

std::expected<Counted, std::string> generate(const std::string& disk, const GeneratorJob& job)
{
    const int fd = ::open(disk.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        return failed(disk, "open", errno);
    const std::unique_ptr<const int, void (*)(const int*)> closer(&fd, [](const int* f) { ::close(*f); });
    std::uint64_t size = 0;
    if (::ioctl(fd, BLKGETSIZE64, &size) != 0)
        return failed(disk, "BLKGETSIZE64", errno);
    if (size < job.span)
        return std::unexpected(disk + " has " + std::to_string(size) + " bytes, the load needs " +
                               std::to_string(job.span));
    const std::size_t bytes = std::size_t{job.depth} * job.block;
    const std::unique_ptr<void, decltype(&std::free)> buffers(std::aligned_alloc(4096, bytes), &std::free);
    if (!buffers)
        return failed(disk, "buffers", ENOMEM);
    std::memset(buffers.get(), 0x5a, bytes);
    io_uring ring{};
    if (const int res = io_uring_queue_init(job.depth, &ring, 0); res < 0)
        return failed(disk, "io_uring_setup", -res);
    const std::unique_ptr<io_uring, decltype(&io_uring_queue_exit)> exiter(&ring, &io_uring_queue_exit);
    Generator generator(job, fd, job.span / job.block, ring, static_cast<char*>(buffers.get()));
    const auto idle = idle_nanoseconds(), switches = task_switches();
    align_with_ticks();
    if (const int error = generator.run(); error != 0)
        return failed(disk, job.write_percent == 0 ? "read" : "I/O", error);
    return Counted{.ticks = generator.ticks(),
                   .idle_nanoseconds = idle_nanoseconds() - idle,
                   .switches = task_switches() - switches};
}

} // namespace perf
