// The watch for leaks judged: cycles that leave something behind on purpose. Suite "selftest", hidden;
// selftest_vm_test says what verdict each must be given.
#include "conformance/driver/case.hpp"
#include "conformance/driver/driver.hpp"
#include "conformance/endurance/leak_watch.hpp"

#include <fcntl.h>
#include <functional>
#include <memory>
#include <sys/mman.h>
#include <sys/msg.h>
#include <vector>

namespace conformance::endurance {

namespace {

constexpr unsigned cycles = 600;
const auto selftest = in_suite("selftest", true);

void watch(LeakWatch::Scope scope, const std::function<void(unsigned)>& cycle)
{
    for (unsigned i = 0; i < 10; ++i) // the warm-up
        cycle(i);
    LeakWatch leaks(scope);
    for (unsigned i = 0; i < cycles; ++i)
        cycle(i);
    leaks.check(cycles);
}

// Messages in queues of the kernel, which outlive every descriptor and every process: until the case ends.
class Messages {
  public:
    Messages() { queues_.reserve(2UL * cycles); }
    Messages(const Messages&) = delete;
    Messages& operator=(const Messages&) = delete;
    ~Messages()
    {
        for (const int queue : queues_)
            ::msgctl(queue, IPC_RMID, nullptr);
    }
    void leave_one()
    {
        struct {
            long type = 1;
            char text[3900] = {};
        } message;
        const int queue = ::msgget(IPC_PRIVATE, 0600);
        expect_not_negative(queue, "msgget");
        queues_.push_back(queue);
        expect_ok(sys(::msgsnd(queue, &message, sizeof(message.text), 0)), "msgsnd");
    }

  private:
    std::vector<int> queues_;
};

} // namespace

CASE("SELF-022", contract, "cycles that leave nothing behind pass", selftest, timeout(60s))
{
    watch(LeakWatch::Scope::process_and_kernel, [](unsigned) {
        const Fd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        expect_true(static_cast<bool>(fd), "/dev/null opens");
    });
}

CASE("SELF-023", contract, "one descriptor that is left in each cycle is found", selftest)
{
    watch(LeakWatch::Scope::process, [](unsigned) {
        expect_not_negative(sys(::open("/dev/null", O_RDONLY | O_CLOEXEC)), "/dev/null opens");
    });
}

CASE("SELF-024", contract, "the smallest piece of heap that is left in every eighth cycle is found", selftest)
{
    static std::vector<std::unique_ptr<char>> left;
    left.reserve(2UL * cycles);
    watch(LeakWatch::Scope::process, [](unsigned cycle) {
        if (cycle % 8 == 0)
            left.push_back(std::make_unique<char>());
    });
}

CASE("SELF-025", contract, "one page that is left mapped in each cycle is found", selftest)
{
    watch(LeakWatch::Scope::process, [](unsigned) {
        void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        expect_true(page != MAP_FAILED, "mmap");
        *static_cast<volatile char*>(page) = 1;
    });
}

CASE("SELF-026", contract, "one piece of kernel memory that is left in each cycle is found", selftest,
     timeout(60s))
{
    Messages messages;
    watch(LeakWatch::Scope::process_and_kernel, [&](unsigned) { messages.leave_one(); });
}

} // namespace conformance::endurance
