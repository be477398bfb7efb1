#include "ublk/serve/cli.hpp"

#include "ublk/serve/commands.hpp"

#include <cerrno>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>

namespace ublk::serve {
namespace {

using ::testing::HasSubstr;

std::expected<Command, Notice> parse_line(const std::string& line)
{
    std::istringstream words(line);
    return parse({std::istream_iterator<std::string>(words), {}});
}

AddCommand added(const std::string& line)
{
    auto command = parse_line(line);
    EXPECT_TRUE(command.has_value()) << line << ": " << command.error().text;
    return command ? std::get<AddCommand>(*command) : AddCommand{};
}

TEST(CommandLine, FillsInWhatIsNotSaid)
{
    const auto add = added("add --type memory");
    EXPECT_EQ(add.type, BackendType::memory);
    EXPECT_GT(add.size, 0U);
    EXPECT_EQ(add.size % add.block_size, 0U);
    EXPECT_EQ(add.device.id, uapi::no_dev_id);
    EXPECT_FALSE(add.daemon);
}

TEST(CommandLine, LeavesTheSizeOfAFileToTheFile)
{
    EXPECT_EQ(added("add --type file --file disk.img").size, 0U);
}

TEST(CommandLine, TakesEveryOption)
{
    const auto add = added("add --type file --file disk.img --size 8M --queues 3 --depth 4096 --id 1048575 "
                           "--block-size 4096 --direct --read-only --max-io 1M --data-path user-copy "
                           "--daemon --json out.json --metrics [::1]:9100 --paranoid --log-level debug");
    EXPECT_EQ(add.type, BackendType::file);
    EXPECT_EQ(add.file, "disk.img");
    EXPECT_EQ(add.size, 8U << 20);
    EXPECT_EQ(add.device.queues, 3);
    EXPECT_EQ(add.device.depth, 4096);
    EXPECT_EQ(add.device.id, 1048575U);
    EXPECT_EQ(add.device.max_io_bytes, 1U << 20);
    EXPECT_EQ(add.device.serving.data_path, engine::DataPath::user_copy);
    EXPECT_EQ(add.block_size, 4096U);
    EXPECT_TRUE(add.direct && add.read_only && add.daemon);
    EXPECT_FALSE(add.device.unprivileged);
    EXPECT_TRUE(added("add --type null --unprivileged").device.unprivileged);
    EXPECT_EQ(add.json, "out.json");
    EXPECT_EQ(add.metrics, "[::1]:9100");
    EXPECT_TRUE(add.paranoid);
    EXPECT_EQ(add.log_level, observe::Level::debug);
}

TEST(CommandLine, TakesADeviceIdWhereOneIsNeeded)
{
    EXPECT_EQ(std::get<InfoCommand>(*parse_line("info 3")).id, 3U);
    EXPECT_EQ(std::get<StopCommand>(*parse_line("stop 0")).id, 0U);
    EXPECT_EQ(std::get<DeleteCommand>(*parse_line("delete 1048575")).id, 1048575U);
    EXPECT_EQ(std::get<OwnerCommand>(*parse_line("owner 5")).id, 5U);
    EXPECT_EQ(std::get<ListCommand>(*parse_line("list --json -")).json, "-");
}

TEST(CommandLine, MakesAZonedDevice)
{
    const auto add = added("add --type zoned --size 64M --zone-size 1M --zone-capacity 768K --conventional 2 "
                           "--max-open 8 --max-active 12");
    EXPECT_EQ(add.zones.size, 64U << 20);
    EXPECT_EQ(add.zones.zone_size, 1U << 20);
    EXPECT_EQ(add.zones.zone_capacity, 768U << 10);
    EXPECT_EQ(add.zones.conventional, 2U);
    EXPECT_EQ(add.zones.max_open, 8U);
    EXPECT_EQ(add.zones.max_active, 12U);
    EXPECT_TRUE(add.device.zoned);
    EXPECT_EQ(add.device.serving.data_path, engine::DataPath::user_copy);
    EXPECT_EQ(added("add --type zoned").zones.zone_size, 4U << 20);
    EXPECT_FALSE(added("add --type memory").device.zoned);
    EXPECT_EQ(added("add --type memory").device.serving.data_path, engine::DataPath::copy);
}

TEST(CommandLine, MakesADeviceThatKeepsProtectionInformation)
{
    const auto add = added("add --type memory --integrity t10-type3 --with corrupt:part=guard");
    EXPECT_EQ(add.integrity, backends::T10Type::type3);
    EXPECT_TRUE(add.device.integrity);
    EXPECT_EQ(add.device.serving.data_path, engine::DataPath::user_copy);
    EXPECT_FALSE(added("add --type memory").integrity || added("add --type memory").device.integrity);
    EXPECT_STREQ(to_string(add.integrity), "t10-type3");
    EXPECT_STREQ(to_string(std::optional<backends::T10Type>()), "none");
}

TEST(CommandLine, SharesMemoryOfAFile)
{
    const auto add = added("add --type memory --shmem /dev/shm/x");
    EXPECT_EQ(add.shmem, "/dev/shm/x");
    EXPECT_EQ(add.device.serving.data_path, engine::DataPath::shmem);
    EXPECT_EQ(added("add --type memory --shmem x --data-path shmem").shmem, "x");
}

TEST(CommandLine, TakesHowADeviceIsServed)
{
    const auto add = std::get<AddCommand>(*parse_line(
        "add --type file --file x --data-path auto-buf --recovery reissue --threads-per-queue 2 --dry-run"));
    EXPECT_EQ(add.device.serving.data_path, engine::DataPath::auto_buf);
    EXPECT_EQ(add.device.recovery, engine::Recovery::reissue);
    EXPECT_EQ(add.device.serving.threads_per_queue, 2U);
    EXPECT_TRUE(add.dry_run);
    EXPECT_FALSE(add.auto_path || add.recovers);
    EXPECT_TRUE(std::get<AddCommand>(*parse_line("add --type memory --data-path auto")).auto_path);
    EXPECT_TRUE(std::get<AddCommand>(*parse_line("add --type memory --batch")).device.serving.batch);
}

TEST(CommandLine, TakesWhatIsDoneToARunningDevice)
{
    EXPECT_EQ(std::get<AddCommand>(*parse_line("recover 3 --type file --file x")).recovers, 3U);
    EXPECT_EQ(std::get<QuiesceCommand>(*parse_line("quiesce 3")).id, 3U);
    EXPECT_TRUE(std::get<StopCommand>(*parse_line("stop 3 --if-unused")).if_unused);
    const auto resize = std::get<ResizeCommand>(*parse_line("resize 3 1M"));
    EXPECT_EQ(resize.id, 3U);
    EXPECT_EQ(resize.size, 1U << 20);
}

struct WrongLine {
    const char* line;
    const char* named; // what the complaint must name
};

void expect_refused(const std::vector<WrongLine>& lines)
{
    for (const auto& [line, named] : lines) {
        const auto command = parse_line(line);
        ASSERT_FALSE(command.has_value()) << line;
        EXPECT_EQ(command.error().exit_code, exit_usage) << line;
        EXPECT_THAT(command.error().text, HasSubstr(named)) << line;
        EXPECT_EQ(command.error().text.find('\n'), std::string::npos) << "one line: " << command.error().text;
    }
}

TEST(CommandLine, RefusesServingThatMakesNoSenseAndNamesIt)
{
    expect_refused({
        {"add --type memory --data-path teleport", "--data-path 'teleport'"},
        {"add --type memory --recovery maybe", "--recovery 'maybe'"},
        {"add --type memory --threads-per-queue 0", "--threads-per-queue '0'"},
        {"recover --type memory", "ID"},
        {"recover 3", "--type"},
        {"recover 3 --type memory --queues 2", "--queues"}, // the device has its own
        {"quiesce all", "'all'"},
        {"resize 3 100", "SIZE '100'"},
        {"resize 3 0", "SIZE '0'"},
    });
}

TEST(CommandLine, RefusesWhatMakesNoSenseAndNamesIt)
{
    const std::vector<WrongLine> lines{
        {"", "--help"},
        {"serve", "serve"},
        {"add", "--type"},
        {"add --type floppy", "'floppy'"},
        {"add --type memory --size 0", "--size '0'"},
        {"add --type memory --size 1000", "--size '1000'"},
        {"add --type memory --size 512 --block-size 4096", "--size '512'"},
        {"add --type memory --size 16384P", "--size '16384P'"},
        {"add --type memory --size 8192P", "--size '8192P'"},
        {"add --type memory --size lots", "--size 'lots'"},
        {"add --type memory --depth 0", "--depth '0'"},
        {"add --type memory --depth 4097", "--depth '4097'"},
        {"add --type memory --depth 65537", "--depth '65537'"}, // 1 in 16 bits
        {"add --type memory --depth 4294967297", "--depth '4294967297'"},
        {"add --type memory --depth 18446744073709551617", "--depth '18446744073709551617'"},
        {"add --type memory --depth 64x", "--depth '64x'"},
        {"add --type memory --queues 0", "--queues '0'"},
        {"add --type memory --queues -1", "--queues"},
        {"add --type memory --queues 65537", "--queues '65537'"},
        {"add --type memory --id 1048576", "--id '1048576'"},
        {"add --type memory --id 4294967296", "--id '4294967296'"},
        {"add --type memory --block-size 256", "--block-size '256'"},
        {"add --type memory --block-size 8192", "--block-size '8192'"},
        {"add --type memory --block-size 1000", "--block-size '1000'"},
        {"add --type memory --max-io 0", "--max-io '0'"},
        {"add --type memory --max-io 6000", "--max-io '6000'"},
        {"add --type memory --max-io 64M", "--max-io '64M'"},
        {"add --type memory --max-io 4294971392", "--max-io '4294971392'"}, // 4096 in 32 bits
        {"add --type file", "--file"},
        {"add --type memory --file disk.img", "--file 'disk.img'"},
        {"add --type memory --direct", "--direct"},
        {"add --type memory --daemon --json -", "--json -"},
        {"add --type memory stray", "stray"},
        {"add --type memory --metrics 0.0.0.0:9100", "--metrics '0.0.0.0:9100': other machines"},
        {"add --type memory --metrics 9100", "--metrics '9100': give"},
        {"add --type memory --log-level loud", "--log-level 'loud'"},
        {"add --type memory --unprivileged --data-path user-copy", "--unprivileged"},
        {"add --type zoned --unprivileged", "--unprivileged"},
        {"owner", "ID"},
        {"top --interval 0", "--interval '0'"},
        {"top --count -1", "--count"},
        {"add --type memory --zone-size 1M", "--zone-size '1M'"},
        {"add --type file --file disk.img --max-open 1", "--max-open '1'"},
        {"add --type zoned --zone-size 3M", "power of two"},
        {"add --type zoned --zone-size much", "--zone-size 'much'"},
        {"add --type zoned --zone-size 0", "power of two"},
        {"add --type zoned --size 5M --zone-size 2M", "multiple of the zone size"},
        {"add --type zoned --max-open x", "--max-open 'x'"},
        {"add --type zoned --max-open 4294967297", "--max-open '4294967297'"}, // 1 in 32 bits
        {"add --type zoned --max-open 65", "65 open"},
        {"add --type zoned --max-open 3 --max-active 2", "3 open"},
        {"add --type zoned --conventional 64", "64 conventional"},
        {"add --type zoned --data-path copy", "--data-path 'copy'"},
        {"add --type zoned --read-only", "--read-only"},
        {"info", "ID"},
        {"stop one", "'one'"},
        {"delete 4294967296", "'4294967296'"}, // 0 in 32 bits
    };
    expect_refused(lines);
}

TEST(CommandLine, RefusesSharedMemoryAndProtectionInformationWhereTheyMakeNoSense)
{
    const std::vector<WrongLine> lines{
        {"add --type memory --data-path shmem", "add --shmem FILE"},
        {"add --type memory --shmem x --data-path copy", "--shmem 'x' does not go with --data-path 'copy'"},
        {"add --type memory --shmem x --integrity t10-type1", "--shmem 'x' does not go with --integrity"},
        {"add --type zoned --shmem x", "--shmem 'x' does not go with --type zoned"},
        {"add --type memory --integrity crc", "--integrity 'crc'"},
        {"add --type null --integrity t10-type1", "--integrity 't10-type1' does not go with --type null"},
        {"add --type memory --integrity t10-type1 --data-path copy", "--data-path 'copy'"},
        {"add --type memory --integrity t10-type1 --unprivileged", "--unprivileged"},
        {"add --type memory --with corrupt:part=guard", "--integrity"},
    };
    expect_refused(lines);
}

TEST(CommandLine, TakesHowTopShows)
{
    EXPECT_EQ(std::get<TopCommand>(*parse_line("top")).interval, 1U);
    const auto top = std::get<TopCommand>(*parse_line("top --interval 5 --count 3 --json -"));
    EXPECT_EQ(top.interval, 5U);
    EXPECT_EQ(top.count, 3U);
    EXPECT_EQ(top.json, "-");
}

TEST(CommandLine, HelpIsNotAnError)
{
    for (const char* line : {"--help", "add --help"}) {
        const auto command = parse_line(line);
        ASSERT_FALSE(command.has_value());
        EXPECT_EQ(command.error().exit_code, exit_ok);
    }
    EXPECT_THAT(parse_line("add --help").error().text, HasSubstr("--queues"));
}

TEST(ExitCode, TellsAMachineWithoutUblkFromAFailure)
{
    EXPECT_EQ(exit_code(make_error("open /dev/ublk-control", ENOENT)), exit_impossible);
    EXPECT_EQ(exit_code(make_error("open /dev/ublk-control", EACCES)), exit_impossible);
    EXPECT_EQ(exit_code(make_error("io_uring_setup", ENOSYS)), exit_impossible);
    EXPECT_EQ(exit_code(make_error("ADD_DEV", EPERM)), exit_impossible);
    EXPECT_EQ(exit_code(make_error("ADD_DEV", EEXIST)), exit_failed);
    EXPECT_EQ(exit_code(make_error("open disk.img", ENOENT)), exit_failed);
}

} // namespace
} // namespace ublk::serve
