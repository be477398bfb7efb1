// From what a backend is to what the driver wants to be told. Pure.
#pragma once

#include "ublk/engine/io.hpp"
#include "ublk/uapi/params.hpp"

#include <cstdint>

namespace ublk::engine {

// SET_PARAMS for a device with this geometry whose largest request is max_io_bytes (as ADD_DEV returned it).
// Discard and write-zeroes are left out of a read-only device.
uapi::Params make_params(const Geometry& geometry, std::uint32_t max_io_bytes);
// The metadata of a device with these parameters.
Integrity integrity_of(const uapi::Params& params);

} // namespace ublk::engine
