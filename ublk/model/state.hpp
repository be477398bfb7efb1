// What the driver is in, as a value: comparable, printable, a few hundred bytes.
#pragma once

#include "ublk/model/command.hpp"
#include "ublk/model/tags.hpp"
#include "ublk/uapi/ctrl.hpp"
#include "ublk/uapi/features.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ublk::model {

using uapi::DevState;
using uapi::Feature;
using uapi::Features;

// Names something that was sent and has not come back: a command, or an application's I/O. Chosen by the
// caller, never 0, never used twice.
using Token = std::uint32_t;

struct Tag {
    TagState state = TagState::unfetched;
    std::uint8_t task = 0; // that fetched it
    Token command = 0;     // that is with the driver
    Token request = 0;     // that is with the server, or committed and still in use
    bool operator==(const Tag&) const = default;
};

// A FETCH_IO_CMDS that is with the driver.
struct TagFetch {
    Token token = 0;
    std::uint8_t task = 0;
    bool operator==(const TagFetch&) const = default;
};

struct Queue {
    std::vector<Tag> tags;
    bool canceling = false; // requests are not delivered
    bool fail_io = false;   // requests are refused with -EREMOTEIO
    bool aborts = false; // BATCH_IO: FETCH_IO_CMDS is refused, and requests are that would wait for a server
    std::vector<TagFetch> fetches{}; // BATCH_IO
    bool had_daemon = false;         // the queue was complete once in this round, by `daemon`
    std::uint8_t daemon = 0;
    bool operator==(const Queue&) const = default;
};

// Where the pages of a request are in the memory that is registered.
struct Shared {
    std::uint8_t index = 0;   // that REG_BUF gave
    std::uint32_t offset = 0; // bytes
    bool operator==(const Shared&) const = default;
};

// A page of an application's I/O, or what START_DEV asks about the zones.
struct Request {
    Token app = 0; // of a report: START_DEV
    std::uint16_t queue = 0;
    bool write = false;
    bool report = false;
    bool delivered = false; // a tag has it
    bool queued = false;    // BATCH_IO: a tag has it, and it waits for a FETCH_IO_CMDS
    bool parked =
        false; // it waits for a server; it may be delivered, and must be only after END_USER_RECOVERY
    std::uint16_t done = 0; // bytes that a short answer has completed
    std::uint8_t page = 0;  // as Command::page
    std::optional<Shared> shared{};
    std::uint16_t zone = 0, filled = 0; // report: the first that is asked for, and how many are written
    // COMMIT has come while fixed buffers had the pages: it takes effect when the last of them has gone.
    std::optional<std::int32_t> committed{};
    bool operator==(const Request&) const = default;
};
inline constexpr std::int32_t request_bytes = 4096;
inline constexpr std::int32_t zone_bytes = 64;        // of each in a report
inline constexpr std::uint64_t zone_sectors = 1024;   // of devices with Blocks::zoned
inline constexpr std::int32_t metadata_bytes = 8;     // of each 512 of data, with Blocks::integrity
inline constexpr std::int32_t report_bytes = 1 << 20; // the result of a report: more than any has

// A control command that waits.
struct Waiting {
    Token token = 0;
    Command command;
    std::uint32_t pid_server = 0; // START_DEV, END_USER_RECOVERY: the server that the pid means; 0: none
    bool begun = false;           // it has looked at its arguments
    bool stopping = false;        // it stops the device, and has the device's lock
    bool stopped = false;         // DEL_DEV: it has stopped the device, and waits for the last close
    bool reporting = false;       // START_DEV: it asks for the zones, and has the device's lock
    std::optional<std::int32_t> reported{}; // ... and this is what came of it
    bool operator==(const Waiting&) const = default;
};

inline constexpr std::size_t fixed_buffers = 3; // slots that are used of each ring

struct Device {
    std::uint32_t id = 0;
    std::uint16_t depth = 1;
    Features flags;
    bool has_params = false;
    bool zoned = false;        // the parameters have that block
    bool metadata = false;     // ... or that of metadata, and the device keeps it
    bool zones_mixed = false;  // its zones came in several reports: UBLK-ZONE-017
    std::uint64_t sectors = 0; // dev_sectors as GET_PARAMS tells it
    DevState state = DevState::dead;
    bool disk = false;
    bool deleted = false;
    bool stopping = false;         // STOP_DEV came while ublkcN was open
    bool try_stopped = false;      // TRY_STOP_DEV found the disk unused: its mark against openers stays
    bool completed = false;        // a round of FETCHes has been complete
    bool lost_fetch = false;       // BATCH_IO: a FETCH_IO_CMDS of this server has gone with its task
    bool aborting = false;         // KernelTraits::aborts_stay has come true
    bool unreset = false;          // tags are as the dead server left them
    std::uint32_t server = 0;      // the process that has ublkcN open, by number; 0: none
    std::uint32_t info_server = 0; // the process that GET_DEV_INFO tells
    std::uint8_t ended_tasks = 0;  // of the server, a bit each
    std::uint16_t block_opens = 0; // that applications hold beside their I/O
    bool disk_object = false;      // the disk, or what is left of it while ublkbN is open
    std::vector<Queue> queues;
    std::vector<Request> requests;
    std::array<std::optional<std::uint8_t>, areas.size()> memory{}; // by index: the area that is registered
    std::array<std::array<Token, fixed_buffers>, 2> fixed{}; // of each task's ring: the request; 0: empty
    bool operator==(const Device&) const = default;
};

struct State {
    std::vector<Device> devices;  // by id
    std::vector<Waiting> waiting; // in the order in which they were sent
    std::uint32_t servers = 0;    // that there have been
    bool operator==(const State&) const = default;
};

const Device* find(const State& state, std::uint32_t id);
Device* find(State& state, std::uint32_t id);

// Tags that have been fetched in this round, and whether that is all of them.
bool is_ready(const Queue& queue);
bool is_ready(const Device& device);

// What the tag has; nullptr: no request, or there is no such tag.
const Request* request_of(const Device& device, std::size_t queue, std::size_t tag);

// The server gets at the payload of requests by itself; else the driver copies it.
bool moves_payload(const Device& device);

// Zones that the device reports.
std::uint16_t zones(const Device& device);

// START_DEV asks for the zones.
bool is_reporting(const State& state, const Device& device);

// Requests of a device wait for the next server instead of failing.
bool queues_without_server(const Device& device);

std::string to_string(const State& state); // several lines

} // namespace ublk::model
