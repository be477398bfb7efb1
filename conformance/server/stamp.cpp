#include "conformance/server/stamp.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <vector>

namespace conformance {

namespace {

constexpr std::uint64_t magic = 0x6b636f6c424b4355; // "UCKBlock"

struct Header {
    std::uint64_t magic, offset;
    std::uint32_t writer, generation;
    std::uint64_t request_offset;
    std::uint32_t request_bytes, zero;
    std::uint64_t check; // of all that is before it
};
static_assert(sizeof(Header) == 48);

std::uint64_t mix(std::uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9;
    x ^= x >> 27;
    x *= 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

std::uint64_t check_of(const Header& header)
{
    std::uint64_t sum = mix(header.magic);
    for (const std::uint64_t word : {header.offset, std::uint64_t{header.writer} << 32 | header.generation,
                                     header.request_offset, std::uint64_t{header.request_bytes}})
        sum = mix(sum ^ word) + 1;
    return sum;
}

Header header_of(const Stamp& stamp)
{
    Header header{.magic = magic,
                  .offset = stamp.offset,
                  .writer = stamp.writer,
                  .generation = stamp.generation,
                  .request_offset = stamp.request_offset,
                  .request_bytes = stamp.request_bytes,
                  .zero = 0,
                  .check = 0};
    header.check = check_of(header);
    return header;
}

// The words behind the header: cheap, and different in every block and version.
struct Filler {
    std::uint64_t state;
    std::uint64_t next()
    {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
    }
};

bool all_zero(std::span<const std::byte> block)
{
    return std::ranges::all_of(block, [](std::byte b) { return b == std::byte{}; });
}

std::string version_text(const Stamp& stamp)
{
    return fmt::format("generation {} of writer {}, written with {}", stamp.generation, stamp.writer,
                       place_text(stamp.request_offset, stamp.request_bytes));
}

struct Look {
    std::uint64_t offset = 0;
    Stamp wanted;
    std::optional<Stamp> found;
    std::optional<Difference> differs; // from what its own stamp says
    bool zeroes = false;
    std::string begins; // in hexadecimal
};

std::optional<Look> look_at(std::span<const std::byte> block, std::uint64_t offset, const Stamp& wanted)
{
    Look look{.offset = offset, .wanted = wanted, .found = read_stamp(block), .differs = {}, .begins = {}};
    if (look.found) {
        look.differs = difference(block, *look.found);
        if (*look.found == wanted && !look.differs)
            return std::nullopt;
    } else {
        look.zeroes = all_zero(block);
        for (std::size_t i = 0; i < 8; ++i)
            look.begins += fmt::format("{:02x}", std::to_integer<unsigned>(block[i]));
    }
    return look;
}

// What the blocks of the wrong block's request say together: a request of which some blocks arrived is torn.
struct Request {
    unsigned arrived = 0, missing = 0;
};

Finding lost_or_stale(const Look& look, std::string holds, const Request& request, std::size_t block,
                      const ReadAgain& read_again)
{
    const auto wanted = version_text(look.wanted);
    std::vector<std::byte> again(block);
    if (read_again && read_again(look.offset, again) && !look_at(again, look.offset, look.wanted))
        return {Wrong::stale, fmt::format("stale: {} {}; a second read gives what was written last, {}",
                                          place_text(look.offset, block), holds, wanted)};
    if (request.arrived > 0)
        return {Wrong::torn,
                fmt::format("torn: of the write of {} {} blocks arrived and {} did not; {} {}, not {}",
                            place_text(look.wanted.request_offset, look.wanted.request_bytes),
                            request.arrived, request.missing, place_text(look.offset, block), holds, wanted)};
    return {Wrong::lost, fmt::format("lost: {} {}; the acknowledged write of {} is not there",
                                     place_text(look.offset, block), holds, wanted)};
}

Finding name(const Look& look, const Request& request, std::size_t block, const ReadAgain& read_again)
{
    const auto place = place_text(look.offset, block);
    if (look.zeroes)
        return lost_or_stale(look, "reads as zeroes", request, block, read_again);
    if (!look.found)
        return {
            Wrong::foreign,
            fmt::format("foreign: {} holds no block that was ever written, it begins with {}; expected {}",
                        place, look.begins, version_text(look.wanted))};
    if (look.found->offset != look.offset)
        return {Wrong::misplaced,
                fmt::format("misplaced: {} holds the block that belongs to {} ({:+} bytes), {}; expected {}",
                            place, look.found->offset,
                            static_cast<std::int64_t>(look.offset - look.found->offset),
                            version_text(*look.found), version_text(look.wanted))};
    if (look.differs && look.differs->last + 1 < block)
        return {Wrong::corrupt,
                fmt::format("corrupt: {} is {}, but for what is between its bytes {} and {}", place,
                            version_text(*look.found), look.differs->first, look.differs->last)};
    if (look.differs)
        return {Wrong::torn, fmt::format("torn: {} begins as {} and is something else from its byte {} on",
                                         place, version_text(*look.found), look.differs->first)};
    return lost_or_stale(look, "holds " + version_text(*look.found), request, block, read_again);
}

} // namespace

const char* to_string(Wrong kind)
{
    switch (kind) {
    case Wrong::lost:
        return "lost";
    case Wrong::stale:
        return "stale";
    case Wrong::torn:
        return "torn";
    case Wrong::corrupt:
        return "corrupt";
    case Wrong::misplaced:
        return "misplaced";
    case Wrong::foreign:
        return "foreign";
    }
    return "?";
}

std::string place_text(std::uint64_t offset, std::size_t bytes)
{
    return fmt::format("{} bytes at {}", bytes, offset);
}

void write_stamp(std::span<std::byte> block, const Stamp& stamp)
{
    const auto header = header_of(stamp);
    std::memcpy(block.data(), &header, sizeof(header));
    Filler filler{header.check | 1};
    for (std::size_t at = sizeof(header); at + sizeof(std::uint64_t) <= block.size();
         at += sizeof(std::uint64_t)) {
        const auto word = filler.next();
        std::memcpy(block.data() + at, &word, sizeof(word));
    }
}

std::optional<Stamp> read_stamp(std::span<const std::byte> block)
{
    Header header{};
    if (block.size() < sizeof(header))
        return std::nullopt;
    std::memcpy(&header, block.data(), sizeof(header));
    if (header.magic != magic || header.zero != 0 || header.check != check_of(header))
        return std::nullopt;
    return Stamp{.offset = header.offset,
                 .writer = header.writer,
                 .generation = header.generation,
                 .request_offset = header.request_offset,
                 .request_bytes = header.request_bytes};
}

std::optional<Difference> difference(std::span<const std::byte> block, const Stamp& stamp)
{
    std::vector<std::byte> whole(block.size());
    write_stamp(whole, stamp);
    std::optional<Difference> difference;
    for (std::size_t i = 0; i < block.size(); ++i) {
        if (block[i] == whole[i])
            continue;
        if (!difference)
            difference = Difference{i, i};
        difference->last = i;
    }
    return difference;
}

std::optional<Finding> examine(std::span<const std::byte> data, std::uint64_t offset, std::size_t block,
                               const ExpectedStamp& expected, const ReadAgain& read_again)
{
    std::optional<Look> first;
    unsigned wrong = 0;
    std::uint64_t last = 0;
    const auto each = [&](auto&& visit) {
        for (std::size_t at = 0; at + block <= data.size(); at += block) {
            if (const auto wanted = expected(offset + at))
                visit(offset + at, *wanted, look_at(data.subspan(at, block), offset + at, *wanted));
        }
    };
    each([&](std::uint64_t at, const Stamp&, std::optional<Look> look) {
        if (!look)
            return;
        ++wrong;
        last = at;
        // A block of another place tells more than the hole that it left in its own.
        const auto misplaced = [](const Look& l) { return l.found && l.found->offset != l.offset; };
        if (!first || (misplaced(*look) && !misplaced(*first)))
            first = std::move(look);
    });
    if (!first)
        return std::nullopt;
    Request request;
    each([&](std::uint64_t, const Stamp& wanted, const std::optional<Look>& look) {
        if (wanted.generation == first->wanted.generation && wanted.writer == first->wanted.writer &&
            wanted.request_offset == first->wanted.request_offset)
            ++(look ? request.missing : request.arrived);
    });
    auto finding = name(*first, request, block, read_again);
    if (wrong > 1)
        finding.text += fmt::format("; {} blocks are wrong, the last at {}", wrong, last);
    return finding;
}

} // namespace conformance
