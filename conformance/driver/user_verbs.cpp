#include "conformance/driver/user_verbs.hpp"

#include <filesystem>
#include <new>
#include <sys/mman.h>
#include <sys/stat.h>

namespace conformance {

namespace {

constexpr char nodes_wanted = 'n', is_ready = 'r', has_ended = 'e';

// What the udev rule does that comes with a server.
void give_nodes()
{
    for (const auto& entry : std::filesystem::directory_iterator("/dev")) {
        const auto name = entry.path().filename().string();
        if (!name.starts_with("ublkc") && !name.starts_with("ublkb"))
            continue;
        if (::chown(entry.path().c_str(), user_id, group_id) != 0)
            fail(fmt::format("chown of {}", entry.path().string()), errno_text(errno));
    }
}

} // namespace

Device User::Self::make(Driver& driver, AddOptions options, Where where)
{
    options.flags |= Feature::unprivileged_dev;
    Device device = driver.make(options, false, where);
    get_nodes();
    return device;
}

void User::Self::get_nodes()
{
    child_->tell(nodes_wanted);
    child_->hear();
}

void User::Self::ready()
{
    child_->tell(is_ready);
}

User::User(const std::function<void(Self&)>& body)
    : child_([&](Child& child) {
          child.hear(); // the control node is open to users
          become_user(user_id, group_id);
          Self self(child);
          body(self);
          child.tell(has_ended);
          return 0;
      })
{
    if (::chmod(ublk::wire::control_path, 0666) != 0)
        fail("chmod of the control node", errno_text(errno));
    child_.tell();
}

void User::attend(Where where)
{
    while (child_.hear(where) == nodes_wanted) {
        give_nodes();
        child_.tell();
    }
}

void User::end(Where where)
{
    attend(where);
    expect_eq(0, child_.join(where), "exit status of the user's process", where);
}

void as_user(const std::function<void(User::Self&)>& body, Where where)
{
    User(body).end(where);
}

void without_sys_admin(const std::function<void()>& body, Where where)
{
    Child child([&](Child&) {
        drop_sys_admin();
        body();
        return 0;
    });
    expect_eq(0, child.join(where), "exit status of the process without CAP_SYS_ADMIN", where);
}

long open_result(const std::string& path, int flags)
{
    const auto fd = ublk::wire::open_node(path, flags);
    return fd ? 0 : -fd.error();
}

Device unprivileged_device(Driver& driver, std::uint32_t id, Where where)
{
    const auto flag = Features(Feature::unprivileged_dev).raw();
    const Device unknown(driver, {.dev_id = id, .flags = flag});
    return {driver, unknown.info(where)};
}

SharedCounter::SharedCounter()
{
    void* base = ::mmap(nullptr, sizeof(*number_), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        fail("memory that processes share", errno_text(errno));
    number_ = new (base) std::atomic<unsigned>(0);
}

SharedCounter::~SharedCounter()
{
    ::munmap(number_, sizeof(*number_));
}

} // namespace conformance
