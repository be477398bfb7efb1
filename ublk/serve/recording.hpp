// What `--with record` of a served device needs beside the decorator: recorders, their files, and SIGUSR1.
#pragma once

#include "ublk/backends/decorators/decorated.hpp"
#include "ublk/engine/error.hpp"
#include "ublk/serve/decorators.hpp"
#include "ublk/wire/ring.hpp"

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace ublk::serve {

class Recordings {
  public:
    // Opens the files of the `record`s among `requests`, which may be none. Then SIGUSR1 is blocked in this
    // thread, and in those that it starts, and saves; call it before there are others.
    static Result<std::unique_ptr<Recordings>> open(std::span<const DecoratorRequest> requests,
                                                    std::uint16_t queues);
    ~Recordings();
    Recordings(const Recordings&) = delete;
    Recordings& operator=(const Recordings&) = delete;

    // The decorators that were asked for; valid for as long as this lives.
    std::span<const backends::DecoratorOptions> decorators() const { return decorators_; }
    // Writes what there is now to each file, in place of what was there.
    Result<void> save() const;

  private:
    struct Recording {
        std::string path;
        wire::Fd file;
        std::unique_ptr<backends::Recorder> recorder;
    };
    Recordings() = default;
    void save_at_signals();

    std::vector<Recording> recordings_;
    std::vector<backends::DecoratorOptions> decorators_;
    std::atomic<bool> stopping_ = false;
    std::thread saver_;
};

} // namespace ublk::serve
