// UBLK-CTRL-STOP with a filesystem on the device.
#include "conformance/driver/case.hpp"
#include "conformance/driver/filesystem.hpp"
#include "conformance/driver/lifecycle_verbs.hpp"

#include <fcntl.h>

namespace conformance {

CASE("UBLK-CTRL-STOP-015", contract,
     "A mounted filesystem does not hold up STOP_DEV; it fails with EIO from then on", timeout(60s))
{
    Driver driver;
    const auto device = driver.make();
    Server server(device);
    server.go_live(basic_params(32768));
    const Ext4 ext4(server);
    const auto create = [&](const char* name) {
        return sys(::open((ext4.directory() + name).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    };
    App before([&] { return create("/before"); });
    const Fd file(static_cast<int>(server.serve_until(before)));
    expect_not_negative(file.get(), "creating a file before STOP_DEV");
    expect_ok(control_served(server, CtrlNr::stop_dev), "STOP_DEV under a mounted filesystem");
    expect_true(!device.has_disk(), "ublkbN is gone");
    App after([&] { return create("/after"); });
    expect_error(EIO, server.serve_until(after), "creating a file after STOP_DEV");
}

} // namespace conformance
