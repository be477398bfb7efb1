// Verbs for cases about unprivileged devices: users, and root beside them, who gives them what udev would.
#pragma once

#include "conformance/driver/child.hpp"
#include "conformance/driver/server.hpp"

#include <atomic>
#include <functional>
#include <string>

namespace conformance {

inline constexpr unsigned user_id = 1000, group_id = 1001;

// A process of user_id and group_id without capabilities, which may use the control node. Root, who made it,
// attends to it meanwhile.
class User {
  public:
    // ---- in the user's process ----
    class Self {
      public:
        explicit Self(Child& child) : child_(&child) {}
        // A device of the user's own, whose ublkcN belongs to the user.
        Device make(Driver& driver, AddOptions options = {}, Where where = Where::current());
        void get_nodes(); // the nodes that are there by now become the user's
        void ready();     // lets attend() return, and goes on

      private:
        Child* child_;
    };
    explicit User(const std::function<void(Self&)>& body);

    // ---- in root's process ----
    void attend(Where where = Where::current()); // until ready()
    void end(Where where = Where::current());    // until the user's process ends, which must go well
    pid_t pid() const { return child_.pid(); }
    int join(Where where = Where::current()) { return child_.join(where); }

  private:
    Child child_;
};

// User(body), attended to until its end.
void as_user(const std::function<void(User::Self&)>& body, Where where = Where::current());

// Runs `body` in a process of root's that has lost CAP_SYS_ADMIN.
void without_sys_admin(const std::function<void()>& body, Where where = Where::current());

// 0 or -errno of open().
long open_result(const std::string& path, int flags);

// The unprivileged device of that id, as others than its owner see it.
Device unprivileged_device(Driver& driver, std::uint32_t id = 0, Where where = Where::current());

// A number that a case and its children share.
class SharedCounter {
  public:
    SharedCounter();
    ~SharedCounter();
    SharedCounter(const SharedCounter&) = delete;
    SharedCounter& operator=(const SharedCounter&) = delete;
    unsigned value() const { return *number_; }
    void add() { ++*number_; }
    void set(unsigned value) { *number_ = value; }

  private:
    std::atomic<unsigned>* number_;
};

} // namespace conformance
