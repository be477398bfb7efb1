#include "ublk/serve/cli.hpp"

#include "ublk/observe/prometheus.hpp"
#include "ublk/serve/size.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <fmt/core.h>
#include <optional>
#include <tuple>
#include <utility>

namespace ublk::serve {

namespace {

constexpr std::array backend_names{
    std::pair{"null", BackendType::null}, std::pair{"memory", BackendType::memory},
    std::pair{"file", BackendType::file}, std::pair{"zoned", BackendType::zoned}};

using IntegrityName = std::pair<const char*, backends::T10Type>;
constexpr std::array integrity_names{IntegrityName{"t10-type1", backends::T10Type::type1},
                                     IntegrityName{"t10-type3", backends::T10Type::type3}};

// The line as written; numbers are checked here, not by the parser, so that each complaint names its mend.
struct Raw {
    std::string type, size, file, json, id, integrity, shmem;
    std::string queues = "1", depth = "64", block_size = "512", max_io = "512K", data_path;
    std::string recovery = "none", threads = "1";
    std::string zone_size, zone_capacity, conventional, max_open, max_active;
    std::vector<std::string> with;
    std::string metrics, log_level = "warning", interval = "1", count = "0";
    bool direct = false, read_only = false, daemon = false, paranoid = false, unprivileged = false;
    bool dry_run = false, huge_pages = false, batch = false, if_unused = false;
};

std::unexpected<Notice> wrong(std::string text)
{
    return std::unexpected(Notice{exit_usage, std::move(text)});
}

std::expected<std::uint64_t, Notice> number(std::string_view option, const std::string& text,
                                            std::uint64_t low, std::uint64_t high, std::string_view what)
{
    std::uint64_t value = 0;
    const auto* end = text.data() + text.size();
    const auto [rest, code] = std::from_chars(text.data(), end, value);
    if (code != std::errc() || rest != end || value < low || value > high)
        return wrong(fmt::format("{} '{}': give {} from {} to {}", option, text, what, low, high));
    return value;
}

std::expected<std::uint64_t, Notice> bytes(std::string_view option, const std::string& text)
{
    const auto size = parse_size(text);
    if (!size)
        return wrong(fmt::format("{} '{}' {}", option, text, size.error()));
    return *size;
}

std::expected<std::uint32_t, Notice> device_id(std::string_view option, const std::string& text)
{
    const auto id = number(option, text, 0, uapi::max_dev_id, "a device id");
    if (!id)
        return std::unexpected(id.error());
    return static_cast<std::uint32_t>(*id);
}

// What holds between options.
std::optional<Notice> contradiction(const Raw& raw, BackendType type)
{
    const auto notice = [](std::string text) { return Notice{exit_usage, std::move(text)}; };
    if (type == BackendType::file && raw.file.empty())
        return notice("--type file needs a file: add --file PATH");
    if (type != BackendType::file && !raw.file.empty())
        return notice(
            fmt::format("--file '{}' does not go with --type {}: use --type file", raw.file, raw.type));
    if (type != BackendType::file && raw.direct)
        return notice(fmt::format("--direct does not go with --type {}: it is for --type file", raw.type));
    const bool zoned = type == BackendType::zoned;
    for (const auto& [option, text] :
         {std::pair("--zone-size", &raw.zone_size), std::pair("--zone-capacity", &raw.zone_capacity),
          std::pair("--conventional", &raw.conventional), std::pair("--max-open", &raw.max_open),
          std::pair("--max-active", &raw.max_active)})
        if (!zoned && !text->empty())
            return notice(fmt::format("{} '{}' does not go with --type {}: it is for --type zoned", option,
                                      *text, raw.type));
    if (zoned && raw.read_only)
        return notice("--read-only does not go with --type zoned: leave one out");
    if (type != BackendType::memory && !raw.integrity.empty())
        return notice(fmt::format("--integrity '{}' does not go with --type {}: it is for --type memory",
                                  raw.integrity, raw.type));
    const bool copies = zoned || !raw.integrity.empty();
    if (copies && !raw.data_path.empty() && raw.data_path != "user-copy")
        return notice(
            fmt::format("--data-path '{}' does not go with {}: the driver wants user-copy, which is its "
                        "default",
                        raw.data_path, zoned ? "--type zoned" : "--integrity"));
    if (raw.unprivileged && (copies || raw.data_path == engine::to_string(engine::DataPath::user_copy)))
        return notice(
            "--unprivileged does not go with the data path user-copy, which is root's: use copy or get-data");
    const auto& shared = engine::to_string(engine::DataPath::shmem);
    if (raw.data_path == shared && raw.shmem.empty())
        return notice("--data-path 'shmem' needs memory to share: add --shmem FILE");
    if (!raw.shmem.empty() && (copies || (!raw.data_path.empty() && raw.data_path != shared)))
        return notice(fmt::format("--shmem '{}' does not go with {}: it is for the data path shmem",
                                  raw.shmem,
                                  zoned    ? "--type zoned"
                                  : copies ? "--integrity"
                                           : fmt::format("--data-path '{}'", raw.data_path)));
    if (raw.daemon && raw.json == "-")
        return notice("--json - does not go with --daemon: give a file name");
    return std::nullopt;
}

std::optional<Notice> check_size(AddCommand& add, const Raw& raw)
{
    if (raw.size.empty()) {
        constexpr std::uint64_t usual = 256ULL << 20;
        add.size = add.type == BackendType::file ? 0 : usual;
        return std::nullopt;
    }
    const auto size = bytes("--size", raw.size);
    if (!size)
        return size.error();
    constexpr std::uint64_t most = INT64_MAX; // file offsets end there
    if (*size == 0 || *size > most || *size % add.block_size != 0)
        return Notice{exit_usage,
                      fmt::format("--size '{}': give a positive multiple of the block size {}, below "
                                  "8192P",
                                  raw.size, add.block_size)};
    add.size = *size;
    return std::nullopt;
}

// Sets `chosen` to the one of `all` that is called `text`; false if none is.
template <typename T, std::size_t n>
bool choose(const std::array<T, n>& all, const std::string& text, T& chosen)
{
    const auto* one = std::ranges::find_if(all, [&](T each) { return engine::to_string(each) == text; });
    if (one != all.end())
        chosen = *one;
    return one != all.end();
}

std::optional<Notice> check_serving(AddCommand& add, const Raw& raw)
{
    add.auto_path = raw.data_path == "auto";
    if (raw.data_path.empty() && (add.type == BackendType::zoned || add.integrity))
        add.device.serving.data_path = engine::DataPath::user_copy;
    else if (raw.data_path.empty() && !raw.shmem.empty())
        add.device.serving.data_path = engine::DataPath::shmem;
    else if (!raw.data_path.empty() && !add.auto_path &&
             !choose(engine::data_paths, raw.data_path, add.device.serving.data_path))
        return Notice{
            exit_usage,
            fmt::format(
                "--data-path '{}': give auto, copy, get-data, user-copy, zero-copy, auto-buf or shmem",
                raw.data_path)};
    if (!choose(engine::recoveries, raw.recovery, add.device.recovery))
        return Notice{exit_usage,
                      fmt::format("--recovery '{}': give none, wait, reissue or fail-io", raw.recovery)};
    const auto threads =
        number("--threads-per-queue", raw.threads, 1, uapi::max_queue_depth, "a number of threads");
    if (!threads)
        return threads.error();
    add.device.serving.threads_per_queue = static_cast<std::uint16_t>(*threads);
    add.device.serving.huge_pages = raw.huge_pages;
    add.device.serving.batch = raw.batch;
    return std::nullopt;
}

std::optional<Notice> check_device(AddCommand& add, const Raw& raw)
{
    const auto queues = number("--queues", raw.queues, 1, uapi::max_nr_queues, "a number of queues");
    if (!queues)
        return queues.error();
    const auto depth = number("--depth", raw.depth, 1, uapi::max_queue_depth, "a number of requests");
    if (!depth)
        return depth.error();
    const auto max_io = bytes("--max-io", raw.max_io);
    if (!max_io)
        return max_io.error();
    constexpr std::uint64_t page = 4096;
    constexpr std::uint64_t most = 32ULL << 20;
    if (*max_io < page || *max_io > most || *max_io % page != 0)
        return Notice{exit_usage,
                      fmt::format("--max-io '{}': give a multiple of 4K from 4K to 32M", raw.max_io)};
    if (auto notice = check_serving(add, raw))
        return notice;
    if (!raw.id.empty()) {
        const auto id = device_id("--id", raw.id);
        if (!id)
            return id.error();
        add.device.id = *id;
    }
    add.device.queues = static_cast<std::uint16_t>(*queues);
    add.device.depth = static_cast<std::uint16_t>(*depth);
    add.device.max_io_bytes = static_cast<std::uint32_t>(*max_io);
    return std::nullopt;
}

std::optional<Notice> check_zones(AddCommand& add, const Raw& raw)
{
    auto& zones = add.zones;
    for (const auto& [option, text, to] :
         {std::tuple("--zone-size", &raw.zone_size, &zones.zone_size),
          std::tuple("--zone-capacity", &raw.zone_capacity, &zones.zone_capacity)}) {
        if (text->empty())
            continue;
        const auto size = bytes(option, *text);
        if (!size)
            return size.error();
        *to = *size;
    }
    if (raw.zone_size.empty())
        zones.zone_size = 4U << 20;
    std::uint64_t max_open = 0, max_active = 0;
    for (const auto& [option, text, to] :
         {std::tuple("--conventional", &raw.conventional, &zones.conventional),
          std::tuple("--max-open", &raw.max_open, &max_open),
          std::tuple("--max-active", &raw.max_active, &max_active)}) {
        const auto count = number(option, text->empty() ? "0" : *text, 0, UINT32_MAX, "a number of zones");
        if (!count)
            return count.error();
        *to = *count;
    }
    zones.max_open = static_cast<std::uint32_t>(max_open);
    zones.max_active = static_cast<std::uint32_t>(max_active);
    zones.size = add.size;
    zones.block_size = add.block_size;
    add.device.zoned = true;
    if (const auto wrong = backends::objection(zones))
        return Notice{exit_usage, fmt::format("--type zoned: {}", *wrong)};
    return std::nullopt;
}

std::optional<Notice> check_decorators(AddCommand& add, const Raw& raw)
{
    for (const auto& text : raw.with) {
        auto decorator = parse_decorator(text, add.block_size);
        if (!decorator)
            return Notice{exit_usage, fmt::format("--with '{}': {}", text, decorator.error())};
        if (const auto* corrupt = std::get_if<backends::CorruptOptions>(&*decorator);
            corrupt != nullptr && corrupt->part != backends::CorruptOptions::Part::data && !add.integrity)
            return Notice{exit_usage,
                          fmt::format("--with '{}': there is no protection information to corrupt: add "
                                      "--integrity t10-type1",
                                      text)};
        add.decorators.push_back(std::move(*decorator));
    }
    return std::nullopt;
}

std::optional<Notice> check_watch(AddCommand& add, const Raw& raw)
{
    using observe::Level;
    constexpr std::array levels{Level::error, Level::warning, Level::info, Level::debug};
    const auto* level = std::ranges::find(levels, raw.log_level, [](Level one) { return to_string(one); });
    if (level == levels.end())
        return Notice{exit_usage,
                      fmt::format("--log-level '{}': give error, warning, info or debug", raw.log_level)};
    add.log_level = *level;
    if (!raw.metrics.empty()) {
        auto address = observe::loopback_address(raw.metrics);
        if (!address)
            return Notice{exit_usage, fmt::format("--metrics '{}': {}", raw.metrics, address.error())};
        add.metrics = std::move(*address);
    }
    add.paranoid = raw.paranoid;
    add.device.unprivileged = raw.unprivileged;
    return std::nullopt;
}

std::expected<Command, Notice> check_top(const Raw& raw)
{
    const auto interval = number("--interval", raw.interval, 1, 3600, "seconds");
    if (!interval)
        return std::unexpected(interval.error());
    const auto count = number("--count", raw.count, 0, UINT32_MAX, "a number of tables");
    if (!count)
        return std::unexpected(count.error());
    return TopCommand{static_cast<unsigned>(*interval), *count, raw.json};
}

std::expected<Command, Notice> check_add(const Raw& raw)
{
    AddCommand add;
    const auto* type = std::find_if(backend_names.begin(), backend_names.end(),
                                    [&](const auto& row) { return raw.type == row.first; });
    if (type == backend_names.end())
        return wrong(fmt::format("--type '{}': give null, memory, file or zoned", raw.type));
    add.type = type->second;
    if (auto notice = contradiction(raw, add.type))
        return std::unexpected(std::move(*notice));
    if (!raw.integrity.empty()) {
        const auto* row = std::ranges::find(integrity_names, raw.integrity, &IntegrityName::first);
        if (row == integrity_names.end())
            return wrong(fmt::format("--integrity '{}': give t10-type1 or t10-type3", raw.integrity));
        add.integrity = row->second;
        add.device.integrity = true;
    }
    const auto block_size = bytes("--block-size", raw.block_size);
    if (!block_size)
        return std::unexpected(block_size.error());
    if (*block_size < 512 || *block_size > 4096 || !std::has_single_bit(*block_size))
        return wrong(fmt::format("--block-size '{}': give 512, 1024, 2048 or 4096", raw.block_size));
    add.block_size = static_cast<std::uint32_t>(*block_size);
    if (auto notice = check_size(add, raw))
        return std::unexpected(std::move(*notice));
    if (auto notice = check_device(add, raw))
        return std::unexpected(std::move(*notice));
    if (add.type == BackendType::zoned)
        if (auto notice = check_zones(add, raw))
            return std::unexpected(std::move(*notice));
    if (auto notice = check_decorators(add, raw))
        return std::unexpected(std::move(*notice));
    if (auto notice = check_watch(add, raw))
        return std::unexpected(std::move(*notice));
    add.file = raw.file;
    add.shmem = raw.shmem;
    add.direct = raw.direct;
    add.read_only = raw.read_only;
    add.daemon = raw.daemon;
    add.dry_run = raw.dry_run;
    add.json = raw.json;
    return add;
}

std::expected<Command, Notice> check_recover(const Raw& raw)
{
    auto command = check_add(raw);
    if (!command)
        return command;
    auto& add = std::get<AddCommand>(*command);
    add.recovers = add.device.id;
    return command;
}

std::expected<Command, Notice> check_resize(const Raw& raw)
{
    const auto id = device_id("ID", raw.id);
    if (!id)
        return std::unexpected(id.error());
    const auto size = bytes("SIZE", raw.size);
    if (!size)
        return std::unexpected(size.error());
    if (*size == 0 || *size % uapi::sector_size != 0)
        return wrong(fmt::format("SIZE '{}': give a positive multiple of 512", raw.size));
    return ResizeCommand{*id, *size};
}

template <typename C>
std::expected<Command, Notice> with_id(const Raw& raw)
{
    const auto id = device_id("ID", raw.id);
    if (!id)
        return std::unexpected(id.error());
    C command;
    command.id = *id;
    if constexpr (requires { command.json; })
        command.json = raw.json;
    if constexpr (requires { command.if_unused; })
        command.if_unused = raw.if_unused;
    return command;
}

// What add and recover have in common.
void describe_serving(CLI::App& command, Raw& raw)
{
    command.add_option("--type", raw.type, "What is behind it: null, memory, file or zoned")->required();
    command.add_option("--size", raw.size, "Size, with K, M, G, T or P; default 256M, or all of the file");
    command.add_option("--file", raw.file, "File or block device to serve");
    command.add_option(
        "--integrity", raw.integrity,
        "Keep protection information beside each block of memory, and refuse writes that it does "
        "not fit: t10-type1 or t10-type3; needs Linux 7.0");
    command.add_option("--block-size", raw.block_size, "Logical block, 512 to 4096 bytes")
        ->capture_default_str();
    command
        .add_option("--threads-per-queue", raw.threads,
                    "Threads that share the requests of a queue; more than one needs Linux 6.16")
        ->capture_default_str();
    command.add_flag("--huge-pages", raw.huge_pages, "Ask for huge pages for the requests' buffers");
    command.add_option("--json", raw.json, "Write what was made to this file; - for standard output");
    command.add_flag("--direct", raw.direct, "Serve the file past the page cache (O_DIRECT)");
    command.add_flag("--read-only", raw.read_only, "Refuse writes");
    command.add_flag("--daemon", raw.daemon, "Return when the disk is there, and serve in the background");
    command.add_option(
        "--metrics", raw.metrics,
        "Serve metrics for Prometheus at this address of this machine, 127.0.0.1:PORT or [::1]:PORT, and "
        "measure latencies");
    command
        .add_option(
            "--log-level", raw.log_level,
            "Least important message to write: error, warning, info or debug; to standard error, or as a "
            "daemon to syslog")
        ->capture_default_str();
    command.add_flag("--paranoid", raw.paranoid,
                     "Check every request and every step of a queue against the rules");
}

void describe_add(CLI::App& add, Raw& raw)
{
    describe_serving(add, raw);
    add.add_option("--queues", raw.queues, "Queues, each with a thread; the kernel gives at most one per CPU")
        ->capture_default_str();
    add.add_option("--depth", raw.depth, "Requests in flight per queue, up to 4096")->capture_default_str();
    add.add_option("--id", raw.id, "Device id; default the lowest free one");
    add.add_option("--max-io", raw.max_io, "Largest request, a multiple of 4K up to 32M")
        ->capture_default_str();
    add.add_option("--data-path", raw.data_path,
                   "How payload travels: copy (by the driver), get-data (by the driver, when asked), "
                   "user-copy (by the server), zero-copy (registered for each operation), auto-buf "
                   "(registered by the driver), shmem (in memory of --shmem, else as copy), auto (the best "
                   "of this kernel for this backend); default "
                   "copy, of a zoned device and with --integrity user-copy");
    add.add_option(
        "--shmem", raw.shmem,
        "A file on tmpfs or hugetlbfs: direct I/O in its pages, which the application maps too, needs no "
        "copy; needs Linux 7.1");
    add.add_flag("--batch", raw.batch, "Commands for many requests at once; needs Linux 7.0");
    add.add_option("--recovery", raw.recovery,
                   "When the server dies: none (the disk ends), wait (its requests fail, new ones wait for "
                   "`recover`), reissue (both wait), fail-io (both fail)")
        ->capture_default_str();
    add.add_flag("--dry-run", raw.dry_run, "Check everything, and make nothing");
    add.add_option("--zone-size", raw.zone_size, "Size of a zone, a power of two; default 4M");
    add.add_option("--zone-capacity", raw.zone_capacity, "How much of a zone can be written; default all");
    add.add_option("--conventional", raw.conventional, "So many zones, from the first on, are conventional");
    add.add_option("--max-open", raw.max_open, "Zones that may be open; default any number");
    add.add_option("--max-active", raw.max_active, "Zones that may be open or closed; default any number");
    add.add_option("--with", raw.with, "Put a decorator around it: NAME:KEY=VALUE,...; may be repeated")
        ->take_all()
        ->allow_extra_args(false);
    add.footer(decorator_help());
    add.add_flag(
        "--unprivileged", raw.unprivileged,
        "Add a device that belongs to this user, who need not be root; see the manual for the udev rule");
}

} // namespace

const char* to_string(BackendType type)
{
    return backend_names[static_cast<std::size_t>(type)].first;
}

const char* to_string(std::optional<backends::T10Type> integrity)
{
    const auto* row = std::ranges::find(integrity_names, integrity, &IntegrityName::second);
    return row != integrity_names.end() ? row->first : "none";
}

std::expected<Command, Notice> parse(std::vector<std::string> args)
{
    Raw raw;
    CLI::App app("Serves a block device /dev/ublkbN through the Linux ublk driver", "ublk-serve");
    app.require_subcommand(1);
    auto* add = app.add_subcommand("add", "Add a device and serve it until SIGINT or SIGTERM");
    describe_add(*add, raw);
    auto* recover =
        app.add_subcommand("recover", "Serve a device that lost its server, or was quiesced, from here on");
    describe_serving(*recover, raw);
    auto* list = app.add_subcommand("list", "Show all ublk devices");
    auto* info = app.add_subcommand("info", "Show one device");
    auto* stop =
        app.add_subcommand("stop", "Take the disk of a device away; its server ends, the device stays");
    stop->add_flag("--if-unused", raw.if_unused, "Only if nobody has the disk open");
    auto* quiesce = app.add_subcommand(
        "quiesce", "End the server of a device with recovery; the disk waits for `recover`");
    auto* resize = app.add_subcommand("resize", "Give a disk another size; its backend must have it");
    auto* del = app.add_subcommand("delete", "Stop a device and remove it, whatever became of its server");
    auto* top =
        app.add_subcommand("top", "Show what the devices of this machine's ublk-serve do, again and again");
    top->add_option("--interval", raw.interval, "Seconds between tables")->capture_default_str();
    top->add_option("--count", raw.count, "Tables to show; 0 for no end")->capture_default_str();
    top->add_option("--json", raw.json,
                    "Write all counters since the start to this file instead, once; - for standard output");
    for (auto* command : {list, info})
        command->add_option("--json", raw.json, "Write to this file; - for standard output");
    auto* owner =
        app.add_subcommand("owner", "Print user and group of an unprivileged device, for the udev rule");
    for (auto* command : {recover, info, stop, quiesce, resize, del, owner})
        command->add_option("ID", raw.id, "Device id, the N of /dev/ublkbN")->required();
    resize->add_option("SIZE", raw.size, "New size, with K, M, G, T or P")->required();

    std::reverse(args.begin(), args.end()); // as CLI11 wants its vector
    try {
        app.parse(args);
    } catch (const CLI::CallForHelp&) {
        const auto chosen = app.get_subcommands();
        return std::unexpected(Notice{exit_ok, (chosen.empty() ? &app : chosen.front())->help()});
    } catch (const CLI::ParseError& error) {
        return wrong(fmt::format("{} (ublk-serve --help shows the commands)", error.what()));
    }
    if (add->parsed())
        return check_add(raw);
    if (owner->parsed())
        return with_id<OwnerCommand>(raw);
    if (top->parsed())
        return check_top(raw);
    if (recover->parsed())
        return check_recover(raw);
    if (quiesce->parsed())
        return with_id<QuiesceCommand>(raw);
    if (resize->parsed())
        return check_resize(raw);
    if (info->parsed())
        return with_id<InfoCommand>(raw);
    if (stop->parsed())
        return with_id<StopCommand>(raw);
    if (del->parsed())
        return with_id<DeleteCommand>(raw);
    return ListCommand{raw.json};
}

} // namespace ublk::serve
