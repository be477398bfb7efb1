// A UNIX socket that QEMU listens on and we connect to, again and again.
#pragma once

#include "vm/error.hpp"
#include "vm/process.hpp"

#include <filesystem>

namespace vm {

class Listener {
  public:
    // Makes the socket `directory`/port.sock, whatever the length of that path. Replaces an old one.
    static Result<Listener> create(const std::filesystem::path& directory);

    int fd() const { return listening_.get(); } // for QEMU to inherit
    void close_ours() { listening_.reset(); }   // once QEMU has it: then we see when QEMU is gone
    // A new connection, which does not block; it waits in the backlog until QEMU takes it.
    Result<UniqueFd> connect() const;

  private:
    std::filesystem::path directory_;
    UniqueFd listening_;
};

} // namespace vm
