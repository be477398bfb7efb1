// What the queue loop makes of a file whose operations go through a ring, without a kernel.
#pragma once

#include "ublk/backends/async_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <span>
#include <unistd.h>

namespace ublk::backends::testing {

// A ring without a kernel: carries an operation out at once, on the payload that a request has.
struct ImmediateRing {
    std::size_t most = SIZE_MAX; // bytes that a transfer does at a time
    std::int32_t fails_with = 0; // instead of doing anything, `failures` times
    int failures = 0;
    int operations = 0;

    std::int32_t carry_out(const engine::RingOp& op, std::span<std::byte> payload)
    {
        ++operations;
        if (failures > 0) {
            --failures;
            return fails_with;
        }
        using enum engine::RingOp::Kind;
        const auto at = static_cast<off_t>(op.offset);
        const auto piece = payload.subspan(std::min<std::size_t>(op.at, payload.size()))
                               .first(std::min<std::size_t>(op.length, most));
        ssize_t res = 0;
        switch (op.kind) {
        case read:
            res = ::pread(op.fd, piece.data(), piece.size(), at);
            break;
        case write:
            res = ::pwrite(op.fd, piece.data(), piece.size(), at);
            break;
        case sync:
            res = ::fdatasync(op.fd);
            break;
        case allocate:
            res = ::fallocate(op.fd, op.flags, at, static_cast<off_t>(op.length));
            break;
        }
        return res < 0 ? -errno : static_cast<std::int32_t>(res);
    }
};

// Serves each request to its end, with the payload mapped or out of the file's sight.
struct Served {
    AsyncFile& file;
    ImmediateRing& ring;
    bool mapped = true;

    std::span<std::byte> place(const engine::Io& io) const noexcept { return file.place(io); }
    std::int32_t handle(engine::Io& io) noexcept
    {
        const auto payload = io.data;
        if (!mapped)
            io.data = {};
        engine::RingOp op;
        std::int32_t answer = file.begin(io, op);
        while (answer == engine::op_pending) {
            const auto allocates = op.kind == engine::RingOp::Kind::allocate;
            const bool transfers = !allocates && op.kind != engine::RingOp::Kind::sync;
            EXPECT_TRUE(!transfers || op.at + op.length <= payload.size());
            answer = file.resume(io, ring.carry_out(op, allocates ? std::span<std::byte>() : payload), op);
        }
        return answer;
    }
};

} // namespace ublk::backends::testing
