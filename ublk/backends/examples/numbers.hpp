#pragma once

#include "ublk/engine/io.hpp"

#include <cstring>

// A read-only disk of 1 GiB on which each sector holds its own number.
struct Numbers {
    ublk::engine::Geometry geometry() const
    {
        return {.size = 1U << 30, .block_size = 512, .attrs = ublk::uapi::Attr::read_only};
    }
    std::int32_t handle(ublk::engine::Io& io) noexcept
    {
        if (io.op != ublk::uapi::IoOp::read)
            return io.op == ublk::uapi::IoOp::flush ? 0 : -EPERM;
        std::memset(io.data.data(), 0, io.data.size());
        for (std::size_t at = 0; at < io.data.size(); at += 512, ++io.start_sector)
            std::memcpy(io.data.data() + at, &io.start_sector, sizeof(io.start_sector));
        return static_cast<std::int32_t>(io.data.size());
    }
};
