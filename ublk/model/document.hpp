// The page README.md of this directory: the model's tables for people, printed from the tables themselves.
#pragma once

#include <string>

namespace ublk::model {

std::string document();
std::string payload_section(); // of it: what becomes of requests

} // namespace ublk::model
