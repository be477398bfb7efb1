// What `ublkcheck server` says about the server that is judged: how to start it, and what its user vouches
// for. Written by the host, read by the cases in the guest.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

namespace conformance {

using Words = std::vector<std::string>; // program and arguments, as execvp() takes them

struct ServerProfile {
    Words command;            // {disk} in a word: the path of the disk that loses what was not flushed
    std::vector<Words> setup; // run to the end before each start from nothing, in order
    Words end;                // ends the server, {id} is its device's number; empty: SIGTERM does
    bool keeps_data = true;
    bool persistent = false;     // started again, it serves the data of before
    bool read_only = false;      // the device has to refuse writes
    bool discard_zeroes = false; // what was discarded reads as zeroes
    int end_status = 0;          // exit status when it was told to end
    unsigned start_seconds = 20, end_seconds = 20;
    unsigned disk_mib = 64;

    bool wants_disk() const; // the command has {disk}
    bool operator==(const ServerProfile&) const = default;
};

inline constexpr const char* profile_path = "/etc/ublkcheck/server.json";

std::string encode_profile(const ServerProfile& profile);
std::expected<ServerProfile, std::string> decode_profile(const std::string& text);

// `words` with each {name} replaced by `value`.
Words filled_in(Words words, const std::string& name, const std::string& value);

} // namespace conformance
