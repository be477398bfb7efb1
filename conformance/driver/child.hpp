// Another process of a case: a second server, an unprivileged caller, somebody to kill.
#pragma once

#include "conformance/driver/expect.hpp"

#include <functional>
#include <optional>
#include <string>
#include <sys/types.h>

namespace conformance {

// fork()ed before the case makes threads. Its exit and its last word are what it tells; expectations inside
// the child end the child only, and reach the parent through join(). Killed and reaped when destroyed.
class Child {
  public:
    // `body` runs in the child; its return value is the exit status (0..125).
    explicit Child(const std::function<int(Child&)>& body);
    ~Child();
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    pid_t pid() const { return pid_; }
    void kill(int sig); // and does not wait

    // Waits for the end; exit status, or 128 + signal. Fails the case if the child does not end in time, or
    // if an expectation inside it failed.
    int join(Where where = Where::current());

    // One byte of conversation in either direction, so that both sides know where the other is.
    void tell(char word = '.');                // to the other side
    char hear(Where where = Where::current()); // from the other side; ends the case (child) if it never comes

  private:
    pid_t pid_ = -1;
    int to_ = -1, from_ = -1; // conversation
    int failure_ = -1;        // the child's failed expectation, as two lines
    std::optional<int> status_;
};

// Drops to an ordinary user: no capabilities, uid and gid as given. For use in a Child.
void become_user(unsigned uid = 1000, unsigned gid = 1000);
// Drops CAP_SYS_ADMIN alone, keeps uid 0. For use in a Child.
void drop_sys_admin();

} // namespace conformance
