// What a device is to be, and how it is to be served. Checked by validate() without touching a kernel.
#pragma once

#include "ublk/engine/error.hpp"
#include "ublk/engine/io.hpp"
#include "ublk/engine/kernel_queue.hpp"
#include "ublk/uapi/ctrl.hpp"
#include "ublk/uapi/features.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

namespace ublk::engine {

// What becomes of the disk when its server dies: requests that the server had, and those that come until
// another one takes over.
enum class Recovery : std::uint8_t {
    none,    // the disk ends
    wait,    // those the server had fail, new ones wait (UBLK_F_USER_RECOVERY)
    reissue, // both wait; the next server gets the old ones again (with _REISSUE)
    fail_io, // both fail (with _FAIL_IO, 6.13)
};
inline constexpr std::array recoveries{Recovery::none, Recovery::wait, Recovery::reissue, Recovery::fail_io};
std::string_view to_string(Recovery recovery); // "none", "wait", "reissue", "fail-io"
uapi::Features needed_features(Recovery recovery);

// How this process serves a device's queues.
struct ServingOptions {
    DataPath data_path = DataPath::copy;
    bool batch = false;                  // commands for many tags at once (UBLK_F_BATCH_IO, 7.0)
    std::uint16_t threads_per_queue = 1; // tags are shared out among them; more than one needs 6.16
    bool huge_pages = false;             // for the tags' buffers, where there are some
    // With the data path shmem, and with no other: they are registered with the device, and have to live
    // until it is stopped. What an application does to them while a request is out, the backend sees.
    SharedMemory shared{};
};

struct DeviceOptions {
    std::uint32_t id = uapi::no_dev_id;      // no_dev_id: the driver chooses
    std::uint16_t queues = 1;                // the driver gives at most one per CPU
    std::uint16_t depth = 64;                // requests in flight per queue
    std::uint32_t max_io_bytes = 512 * 1024; // of one request; a buffer of this size belongs to each tag
    Recovery recovery = Recovery::none;
    bool zoned = false; // a zoned device (UBLK_F_ZONED): its parameters must have zones; not with copy
    // Requests carry metadata (UBLK_F_INTEGRITY, 7.0): its parameters must have integrity; only with
    // user_copy.
    bool integrity = false;
    // Belongs to who adds it, who need not be root (UBLK_F_UNPRIVILEGED_DEV); only with the data path copy or
    // get_data.
    bool unprivileged = false;
    ServingOptions serving;
};

// Told of each queue that ends, by its thread: nullopt if it ended well.
using EndedFn = std::function<void(std::uint16_t queue, const std::optional<Error>& error)>;

// The features that a device with these options cannot do without.
uapi::Features needed_features(const DeviceOptions& options);
// Those it makes use of where the driver has them.
uapi::Features wished_features(const DeviceOptions& options);
// What the features of a device say of it.
DataPath data_path_of(uapi::Features features);
Recovery recovery_of(uapi::Features features);

// Why a backend that has to see payload cannot be served on `path`.
Error needs_mapped_payload(DataPath path, std::optional<std::uint32_t> device = std::nullopt);

// Whether all this can be: the options by themselves, with the backend (whose geometry it is, and which may
// need mapped payload), and, where it is known, with what the driver offers. Error: the first thing that is
// wrong, EINVAL or EOPNOTSUPP.
Result<void> validate(const DeviceOptions& options, const Geometry& geometry, bool serves_unmapped,
                      std::optional<uapi::Features> offered = std::nullopt);

} // namespace ublk::engine
