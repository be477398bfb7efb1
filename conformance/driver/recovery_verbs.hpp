// Verbs for cases about servers that come and go: their deaths, and the recovery of a device by the next one.
#pragma once

#include "conformance/driver/lifecycle_verbs.hpp"
#include "conformance/driver/live.hpp"
#include "conformance/driver/user_verbs.hpp"

#include <optional>
#include <string_view>
#include <vector>

namespace conformance {

inline constexpr auto can_recover = Feature::user_recovery;

// What becomes of I/O while a device waits for its next server, by the flags of ADD_DEV.
inline constexpr Features waiting = Feature::user_recovery;
inline constexpr Features reissuing = Feature::user_recovery | Feature::user_recovery_reissue;
inline constexpr Features failing = Feature::user_recovery | Feature::user_recovery_fail_io;
// Those that this kernel has, and the state of a device without a server.
struct Flavour {
    Features flags;
    DevState without_server;
    std::string_view name;
};
std::vector<Flavour> recovery_flavours();

// The device gets to that state within `patience`.
void expect_state(const Device& device, DevState state, std::string_view when,
                  Where where = Where::current());

// START_USER_RECOVERY, again while the release of the last server is under way. Must work.
void start_recovery(const Device& device, Where where = Where::current());
long end_recovery(Server& server, pid_t pid = ::getpid(), Where where = Where::current()); // served
// From the last server's end to the next one's service; `server` has to be closed, or not to be there.
void recover(const Device& device, std::optional<Server>& server, Where where = Where::current());

// A device whose server, another process, has died.
Device orphan(Driver& driver, const AddOptions& options, DevState then = DevState::quiesced,
              const Params& params = basic_params(), Where where = Where::current());

// A live device with a server to do away with. Before 6.15 the driver wants a server to die, and warns when
// another comes after one that has just left: there only a process (see above) can be recovered from.
struct Mortal {
    Device device;
    std::optional<Server> server;

    explicit Mortal(Driver& driver, const AddOptions& options = {}, const Params& params = basic_params(),
                    Where where = Where::current());
    // The server is gone, with its mappings; nothing of it keeps ublkcN.
    void end_server() { server.reset(); }
    // The same, and the device is found without a server.
    void lose_server(DevState then, Where where = Where::current());
};

// A server in a process of its own that keeps every request that comes after START_DEV, and counts them.
class Keeper {
  public:
    explicit Keeper(const Device& device, Where where = Where::current());
    pid_t pid() const { return process_.pid(); }
    void kill(Where where = Where::current()) { process_.kill(where); }
    unsigned kept() const { return kept_.value(); }
    void expect_kept(unsigned requests, Where where = Where::current()) const; // so many, and soon

  private:
    SharedCounter kept_;
    ServerProcess process_;
};

// What a read gets after the server's ring was closed while ublkcN is still in use. The ring is taken apart
// in a work queue of the kernel: reads that still go to it are lost until the release, and left behind here.
long read_without_ring(const Device& device, Where where = Where::current());

// How long the block layer gives a request.
void set_io_timeout(const Device& device, Millis limit, Where where = Where::current());

// The call returns without anybody's help; its result.
long result_soon(const App& app, std::string_view what, Where where = Where::current());
// It does not, within `settle`; a server if given serves meanwhile.
void expect_waits(const App& app, std::string_view what, Where where = Where::current());
void expect_waits(Server& server, const App& app, std::string_view what, Where where = Where::current());

} // namespace conformance
