// What the fuzz targets share: a requirement, and an input that is taken apart from its front.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <source_location>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace fuzz {

using Bytes = std::span<const std::byte>;
__extension__ using Wide = unsigned __int128; // for sums that must not wrap

// Ends the program, so that the fuzzer keeps the input; on in every build.
inline void require(bool holds, std::source_location where = std::source_location::current())
{
    if (holds)
        return;
    std::fprintf(stderr, "%s:%u: what must hold does not\n", where.file_name(), where.line());
    std::abort();
}

// One line that can be shown: what an error has to be whatever the input was.
inline bool is_sentence(std::string_view text)
{
    return !text.empty() && std::ranges::none_of(text, [](char c) {
        return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    });
}

class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : rest_(std::as_bytes(std::span(data, size))) {}

    bool empty() const { return rest_.empty(); }
    Bytes rest() const { return rest_; }
    std::string_view text() const
    {
        return rest_.empty() ? std::string_view{}
                             : std::string_view(reinterpret_cast<const char*>(rest_.data()), rest_.size());
    }

    Bytes bytes(std::size_t most)
    {
        const auto taken = rest_.first(std::min(most, rest_.size()));
        rest_ = rest_.subspan(taken.size());
        return taken;
    }
    // What the input no longer holds is zero.
    template <typename T>
        requires std::is_trivially_copyable_v<T>
    T take()
    {
        T value{};
        const auto taken = bytes(sizeof(T));
        if (!taken.empty())
            std::memcpy(&value, taken.data(), taken.size());
        return value;
    }

  private:
    Bytes rest_;
};

} // namespace fuzz
