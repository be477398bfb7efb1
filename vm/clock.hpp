// Deadlines, as poll() wants them.
#pragma once

#include <algorithm>
#include <chrono>

namespace vm {

inline int milliseconds_until(std::chrono::steady_clock::time_point deadline)
{
    using std::chrono::ceil, std::chrono::milliseconds;
    const auto left = ceil<milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    return static_cast<int>(std::clamp<decltype(left)>(left, 0, 1 << 30));
}

} // namespace vm
