// fio, one run after the other: each writes a part of a disk in random order and verifies it by MD5.
#pragma once

#include "conformance/driver/expect.hpp"

#include <cstdint>
#include <string>
#include <sys/types.h>

namespace conformance::endurance {

struct FioPassOptions {
    std::string disk;
    std::size_t offset = 0, bytes = 0;
    // Then fio goes on after an error of a read or a write, verifies what was acknowledged, and only wrong
    // data ends it.
    bool requests_may_fail = false;
    std::uint64_t seed = 0;
};

class FioPasses {
  public:
    explicit FioPasses(FioPassOptions options, Where where = Where::current()); // begins the first
    ~FioPasses();
    FioPasses(const FioPasses&) = delete;
    FioPasses& operator=(const FioPasses&) = delete;

    // Looks whether the pass has ended, and begins the next one then. One that found wrong data, or ended
    // otherwise than well, fails the case.
    void go_on(Where where = Where::current());
    // Waits for the pass that runs. Passes that verified nothing at all fail the case.
    void finish(Where where = Where::current());
    unsigned passes() const { return passes_; }
    std::uint64_t verified() const { return verified_; } // blocks

  private:
    void begin(Where where);
    bool ended(Where where);
    FioPassOptions options_;
    pid_t pid_ = -1;
    unsigned passes_ = 0;
    std::uint64_t verified_ = 0;
};

} // namespace conformance::endurance
