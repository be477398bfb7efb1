// Fixed buffers of rings that are the pages of requests.
#pragma once

#include "ublk/model/state.hpp"

namespace ublk::model {

// A fixed buffer has the request's pages.
bool is_in_use(const Device& device, Token request);

} // namespace ublk::model
