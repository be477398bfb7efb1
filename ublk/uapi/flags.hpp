// A set of flag bits with the type of the enum it was made for.
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>

namespace ublk::uapi {

// A set over scoped enum E whose enumerators are single bits (or masks). Unknown bits are kept: a newer
// kernel may set what we have no name for, and a test may want to send what no kernel knows.
template <typename E>
    requires std::is_scoped_enum_v<E>
class FlagSet {
  public:
    using Raw = std::underlying_type_t<E>;

    constexpr FlagSet() = default;
    constexpr FlagSet(E flag) : bits_(static_cast<Raw>(flag)) {} // NOLINT(google-explicit-constructor)
    static constexpr FlagSet from_raw(Raw bits)
    {
        FlagSet set;
        set.bits_ = bits;
        return set;
    }

    constexpr Raw raw() const { return bits_; }
    constexpr bool has(E flag) const { return (bits_ & static_cast<Raw>(flag)) == static_cast<Raw>(flag); }
    constexpr bool has_any(FlagSet other) const { return (bits_ & other.bits_) != 0; }
    constexpr bool empty() const { return bits_ == 0; }

    constexpr FlagSet operator|(FlagSet other) const
    {
        return from_raw(static_cast<Raw>(bits_ | other.bits_));
    }
    constexpr FlagSet operator&(FlagSet other) const
    {
        return from_raw(static_cast<Raw>(bits_ & other.bits_));
    }
    constexpr FlagSet without(FlagSet other) const
    {
        return from_raw(static_cast<Raw>(bits_ & static_cast<Raw>(~other.bits_)));
    }
    constexpr FlagSet& operator|=(FlagSet other) { return *this = *this | other; }
    constexpr bool operator==(const FlagSet&) const = default;

  private:
    Raw bits_ = 0;
};

} // namespace ublk::uapi
