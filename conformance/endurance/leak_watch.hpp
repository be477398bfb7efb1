// Holds that cycles leave nothing behind: no descriptor, thread, mapping, heap or memory of the kernel.
#pragma once

#include "conformance/driver/expect.hpp"
#include "conformance/endurance/footprint.hpp"

namespace conformance::endurance {

class LeakWatch {
  public:
    enum class Scope { process, process_and_kernel };
    // From now on; made after as many cycles as it takes until everything has been used once.
    explicit LeakWatch(Scope scope);
    // Once. Anything that grew with `cycles`, the number since then, fails the case.
    void check(unsigned cycles, Where where = Where::current());
    // How much a figure grew until check().
    double grown(const std::string& name) const;

  private:
    Footprint take() const;
    Scope scope_;
    Footprint before_, after_;
};

} // namespace conformance::endurance
