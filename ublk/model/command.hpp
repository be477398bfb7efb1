// What can be done to a driver, as values with a text form: "fetch dev=0 queue=0 tag=1 task=0".
#pragma once

#include "ublk/uapi/features.hpp"

#include <array>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace ublk::model {

enum class Verb : std::uint8_t {
    // control commands
    add,
    del,
    del_async,
    get_info,
    get_params,
    set_params,
    start,
    stop,
    try_stop,
    start_recovery,
    end_recovery,
    update_size,
    quiesce,
    reg_buf,   // an area of memory that applications and server share becomes the device's
    unreg_buf, // ... no longer, by its index
    // the server, a process that has ublkcN open; its threads are tasks, each with a ring of its own
    open,
    fetch,
    commit,
    get_data,
    register_buffer,   // the request's pages become a fixed buffer of the task's ring
    unregister_buffer, // ... no longer
    unknown_io,        // an operation that no kernel has
    prep_tags,         // PREP_IO_CMDS: tags of a device with BATCH_IO, as FETCH is for one of another device
    commit_tags,       // COMMIT_IO_CMDS
    fetch_tags,        // FETCH_IO_CMDS: stays, and comes back with each request of the queue
    copy_out,          // pread on ublkcN: the payload of a write
    copy_in,           // pwrite on ublkcN: the payload of a read, or zones for a report
    end_task,          // the ring of a task, and the task with it
    kill,              // the whole process
    interrupt,         // START_DEV and END_USER_RECOVERY that wait
    // applications
    read,     // of one page
    write,    // of one page
    time_out, // a read of one page, which the server leaves unanswered until the block layer's time limit
    open_block,
    close_block,
    // what the block layer does by itself
    deliver, // a request that waits goes to a tag
};
inline constexpr Verb last_verb = Verb::deliver;
inline constexpr Verb last_control = Verb::unreg_buf;
std::string_view to_string(Verb verb);

// What is given for a pid, parameters, a buffer or a result. Each verb takes some of them.
enum class Given : std::uint8_t {
    good,  // the server's pid; parameters that are accepted; a buffer; all bytes
    wrong, // another process's pid; parameters that are refused; no buffer where one is needed, and one where
           // none is; -EIO
    zero,  // pid 0; result 0
    half,  // result: the first half; copy_in to a report: half of the zones that it asks for
};
std::string_view to_string(Given given);

// What comes with SET_PARAMS beside a sound block of basic parameters. Those that begin with bad_ break a
// rule that every kernel has which knows the block.
enum class Blocks : std::uint8_t {
    basic,    // nothing
    no_basic, // and not even that
    devt,     // which GET_PARAMS alone may tell
    discard,
    bad_discard, // no granularity
    dma_align,
    bad_dma_align, // no mask of low bits
    segment,
    bad_segment,   // shorter than a page
    integrity,     // bytes without meaning to the kernel
    bad_integrity, // an unknown checksum
    zoned,
    bad_zoned, // no zone append
};
inline constexpr std::size_t blocks_count = static_cast<std::size_t>(Blocks::bad_zoned) + 1;
std::string_view to_string(Blocks blocks);

// Areas of shared memory: of its three pages the first page, the others, and the first two, which overlaps
// both.
struct Area {
    std::uint8_t first_page, pages;
};
inline constexpr std::size_t memory_pages = 3;
inline constexpr std::array areas{Area{0, 1}, Area{1, 2}, Area{0, 2}};
inline constexpr std::uint64_t most_area_index = 65535; // that a driver gives

// Who sends a command to a device, or opens its disk.
enum class Sender : std::uint8_t {
    root,     // has CAP_SYS_ADMIN and goes past the permissions of files
    owner,    // the ordinary user whose devices the unprivileged ones are, with their ublkcN
    stranger, // another user
};
inline constexpr std::array senders{Sender::root, Sender::owner, Sender::stranger};
std::string_view to_string(Sender sender);

inline constexpr std::size_t most_tags = 8; // of one command

// One step of a sequence. Members that the verb does not use stay as they are here.
struct Command {
    Verb verb = Verb::get_info;
    std::uint32_t dev = 0; // the driver's id
    std::uint16_t queue = 0, tag = 0;
    std::vector<std::uint16_t> tags{};   // prep_tags, commit_tags: at most `most_tags`, in this order
    std::uint8_t task = 0;               // of the server: 0 or 1
    Given given = Given::good;           // pid, parameters, buffer or zones
    Given result = Given::good;          // commit
    Blocks blocks = Blocks::basic;       // set_params
    std::uint16_t queues = 1, depth = 1; // add
    uapi::Features flags{};              // add
    Sender sender = Sender::root;        // control commands, open_block
    // The path that a command on an unprivileged device begins with: ublkcN; another node, if wrong; none, if
    // zero. Other devices get none.
    Given path = Given::good;
    bool bare = false;     // commands: by the number alone, not encoded with direction and size
    bool metadata = false; // copy_out, copy_in: the request's metadata, not its data
    std::uint8_t page = 0; // read, write: of the shared memory, counted from 1; 0: memory of its own
    // Sectors of 512 bytes; the request's token; a slot of the ring's fixed buffers; of reg_buf an area, of
    // unreg_buf an index.
    std::uint64_t value = 0;
    bool together = false; // sent at once with the one before it: the driver takes them in any order

    bool operator==(const Command&) const = default;
};

std::string to_string(const Command& command);
// Error: a sentence that names the word. Empty members are those of Command{}.
std::expected<Command, std::string> parse_command(std::string_view line);

constexpr bool is_control(Verb verb)
{
    return verb <= last_control;
}

// Commands to ublkcN.
constexpr bool is_io(Verb verb)
{
    return verb >= Verb::fetch && verb <= Verb::fetch_tags;
}

// ... for many tags at once.
constexpr bool is_batch(Verb verb)
{
    return verb >= Verb::prep_tags && verb <= Verb::fetch_tags;
}

} // namespace ublk::model
