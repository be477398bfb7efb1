// The page README.md of this directory: the model's tables for people, printed from the tables themselves.
#pragma once

#include <string>

namespace ublk::model {

std::string document();

} // namespace ublk::model
