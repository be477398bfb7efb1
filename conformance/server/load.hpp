// Processes that read and write the device while a case does something to its server.
#pragma once

#include "conformance/driver/child.hpp"
#include "conformance/server/ledger.hpp"

#include <atomic>
#include <memory>
#include <vector>

namespace conformance {

class Load {
  public:
    // Starts `writers` processes that write and read blocks of their own, each until it is told to stop or
    // its first error, and returns when each has done something. Wrong data fails the case at join().
    Load(const Subject& subject, Ledger& ledger, unsigned writers, bool reading_back,
         Where where = Where::current());
    ~Load();

    std::uint64_t done() const { return shared_->done; }  // requests answered so far
    unsigned running() const { return shared_->running; } // writers that have not ended
    // Tells the writers to stop, and waits for them; at most `limit`.
    void stop(Where where = Where::current());
    // Waits for errors to end all writers. One that is still there after `patience` fails the case.
    void expect_errors(Where where = Where::current());

  private:
    struct Shared {
        std::atomic<std::uint64_t> done = 0;
        std::atomic<unsigned> running = 0, started = 0;
        std::atomic<bool> stop = false;
    };
    int work(const Subject& subject, Ledger& ledger, unsigned writer, unsigned writers,
             bool reading_back) const;
    void join(Where where);

    const Subject& subject_;
    Shared* shared_;
    std::vector<std::unique_ptr<Child>> writers_;
    std::vector<int> statuses_;
};

} // namespace conformance
