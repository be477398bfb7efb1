#include "conformance/server/load.hpp"

#include <new>
#include <sys/mman.h>

namespace conformance {

namespace {

constexpr int told_to_stop = 0, met_an_error = 10; // exit statuses of a writer
constexpr std::uint64_t largest = 64 * 1024;       // request

// The device belongs to the writers piece by piece, by turns, so that neighbours have different owners.
std::uint64_t piece_bytes(const Ledger& ledger)
{
    return std::max<std::uint64_t>(largest, ledger.block());
}

} // namespace

Load::Load(const Subject& subject, Ledger& ledger, unsigned writers, bool reading_back, Where where)
    : subject_(subject)
{
    void* page = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        fail("memory for the load", errno_text(errno));
    shared_ = new (page) Shared;
    if (ledger.part().bytes < piece_bytes(ledger) * writers)
        skip(fmt::format("needs a device of {} bytes", piece_bytes(ledger) * writers));
    shared_->running = writers;
    for (unsigned i = 0; i < writers; ++i)
        writers_.push_back(std::make_unique<Child>([&, i](Child&) {
            const std::unique_ptr<std::atomic<unsigned>, void (*)(std::atomic<unsigned>*)> leaves(
                &shared_->running, [](std::atomic<unsigned>* running) { --*running; });
            return work(subject, ledger, i, writers, reading_back);
        }));
    if (!eventually([this, writers] { return shared_->started == writers || shared_->running < writers; },
                    60s))
        subject.fail("requests are answered", "some writers had no answer to their first within 60 s", where);
}

Load::~Load()
{
    writers_.clear();
    ::munmap(shared_, sizeof(Shared));
}

int Load::work(const Subject& subject, Ledger& ledger, unsigned writer, unsigned writers,
               bool reading_back) const
{
    const DiskIo io(subject);
    std::mt19937_64 random(writer + 1);
    const auto piece = piece_bytes(ledger);
    const auto rounds = ledger.part().bytes / (piece * writers);
    const Buffer buffer(largest);
    for (bool first = true; !shared_->stop; first = false) {
        const Extent own{ledger.part().offset + (random() % rounds * writers + writer) * piece, piece};
        if (reading_back) {
            ledger.write(io, ledger.random_extent(random, largest, own), writer + 1);
            ledger.check(io, ledger.random_extent(random, largest, own));
        } else {
            const auto extent = ledger.random_extent(random, largest, own);
            if (io.try_write(extent.offset, buffer.first(extent.bytes)) != static_cast<long>(extent.bytes) ||
                io.try_read(extent.offset, buffer.first(extent.bytes)) != static_cast<long>(extent.bytes))
                return met_an_error;
        }
        shared_->done += 2;
        if (first)
            ++shared_->started;
    }
    return told_to_stop;
}

void Load::join(Where where)
{
    for (auto& writer : writers_)
        statuses_.push_back(writer->join(where));
    writers_.clear();
}

void Load::stop(Where where)
{
    shared_->stop = true;
    // A request without an answer ends by the watch on stalls; this is for what comes after it.
    eventually([this] { return shared_->running == 0; }, 30s);
    join(where);
    for (const int status : statuses_)
        if (status == met_an_error)
            subject_.fail("requests succeed", "one failed", where);
}

void Load::expect_errors(Where where)
{
    if (!eventually([this] { return shared_->running == 0; }))
        fail(
            "applications get errors when the server is gone",
            fmt::format("{} of them still wait after {} s", shared_->running.load(), patience.count() / 1000),
            where);
    join(where);
    count_check();
}

} // namespace conformance
