// Command lines of ublk-serve, one argument a line, and the sizes in them: a command that can be carried out,
// or a notice that says why not.
#include "fuzz/input.hpp"
#include "ublk/serve/cli.hpp"
#include "ublk/serve/size.hpp"

#include <bit>

namespace {

using namespace ublk::serve;
using fuzz::require;

// DIGITS or DIGITS and a unit, counted so that it cannot wrap.
fuzz::Wide size_by_hand(std::string_view text)
{
    fuzz::Wide value = 0;
    const auto end = std::min(text.find_first_not_of("0123456789"), text.size());
    require(end > 0);
    for (const char c : text.substr(0, end)) {
        value = value * 10 + static_cast<unsigned>(c - '0');
        require(value <= UINT64_MAX);
    }
    if (end == text.size())
        return value;
    const auto unit = std::string_view("KMGTPkmgtp").find(text[end]);
    require(unit != std::string_view::npos && (text.size() == end + 1 || text.substr(end + 1) == "iB"));
    return value << (10 * (unit % 5 + 1));
}

void check_size(const std::string& text)
{
    const auto size = parse_size(text);
    if (!size)
        return require(fuzz::is_sentence(size.error()));
    require(size_by_hand(text) == *size);
    // As a person would type what the program printed.
    auto printed = format_size(*size);
    if (const auto bytes = printed.find(" bytes"); bytes != std::string::npos)
        printed.erase(bytes);
    std::erase(printed, ' ');
    require(parse_size(printed) == size);
}

void check(const AddCommand& add)
{
    require(std::has_single_bit(add.block_size) && add.block_size >= 512 && add.block_size <= 4096);
    require(add.size % add.block_size == 0 && add.size <= INT64_MAX);
    require(add.size != 0 || add.type == BackendType::file);
    require((add.type == BackendType::file) == !add.file.empty());
    require(!add.direct || add.type == BackendType::file);
    require(!(add.daemon && add.json == "-"));
    require(add.metrics.empty() || add.metrics.starts_with("127.") || add.metrics.starts_with("[::1]:"));
    const auto& device = add.device;
    const bool zoned = add.type == BackendType::zoned;
    require(device.zoned == zoned);
    require(!zoned || device.serving.data_path == ublk::engine::DataPath::user_copy);
    require(!zoned || !ublk::backends::objection(add.zones));
    require(device.queues >= 1 && device.queues <= ublk::uapi::max_nr_queues);
    require(device.depth >= 1 && device.depth <= ublk::uapi::max_queue_depth);
    require(device.max_io_bytes >= 4096 && device.max_io_bytes <= 32U << 20 &&
            device.max_io_bytes % 4096 == 0);
    require(device.id <= ublk::uapi::max_dev_id || device.id == ublk::uapi::no_dev_id);
}
void check(const ListCommand&) {}
void check(const TopCommand& top)
{
    require(top.interval >= 1 && top.interval <= 3600);
}
void check(const auto& command)
{
    require(command.id <= ublk::uapi::max_dev_id);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    std::vector<std::string> args(1);
    for (const char c : fuzz::Input(data, size).text()) {
        if (c == '\n')
            args.emplace_back();
        else if (c != '\0') // no argument can hold one
            args.back() += c;
    }
    for (const auto& arg : args)
        check_size(arg);
    if (const auto command = parse(args))
        std::visit([](const auto& c) { check(c); }, *command);
    else
        require((command.error().exit_code == exit_ok || command.error().exit_code == exit_usage) &&
                !command.error().text.empty());
    return 0;
}
