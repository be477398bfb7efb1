#include "ublk/serve/decorators.hpp"

#include "ublk/serve/cli.hpp"

#include <cerrno>
#include <csignal>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ublk::serve {
namespace {

using namespace backends;
using ::testing::HasSubstr;
using uapi::IoOp;
using namespace std::chrono_literals;

template <typename Options>
Options parsed(std::string_view text, std::uint32_t block_size = 512)
{
    auto request = parse_decorator(text, block_size);
    EXPECT_TRUE(request.has_value()) << text << ": " << request.error();
    return request ? std::get<Options>(*request) : Options{};
}

TEST(WithOption, MeansEveryRequestIfNothingIsSaid)
{
    EXPECT_EQ(parsed<FaultOptions>("fault").which, Selection{});
    EXPECT_EQ(parsed<FaultOptions>("fault:").error, EIO);
    EXPECT_EQ(parsed<ShortOptions>("short").which, (Selection{.ops = IoOp::read}));
    EXPECT_EQ(parsed<CrashOptions>("crash").signal, SIGKILL);
}

TEST(WithOption, TakesEveryKeyOfASelection)
{
    EXPECT_EQ(
        parsed<FaultOptions>("fault:op=write+flush,sectors=8-15,after=3,every=100,first=7,rate=0.25,seed=9")
            .which,
        (Selection{.ops = Ops(IoOp::write) | IoOp::flush,
                   .first_sector = 8,
                   .last_sector = 15,
                   .after = 3,
                   .every = 100,
                   .first = 7,
                   .rate = 0.25,
                   .seed = 9}));
    EXPECT_EQ(parsed<FaultOptions>("fault:at=5").which, (Selection{.after = 4, .first = 1}));
    EXPECT_EQ(parsed<FaultOptions>("fault:sectors=8").which,
              (Selection{.first_sector = 8, .last_sector = 8}));
    EXPECT_EQ(parsed<FaultOptions>("fault:op=write-zeroes").which.ops, Ops(IoOp::write_zeroes));
    EXPECT_EQ(parsed<FaultOptions>("fault:op=zone-append").which.ops, Ops(IoOp::zone_append));
}

TEST(WithOption, TakesWhatEachDecoratorHasOfItsOwn)
{
    EXPECT_EQ(parsed<FaultOptions>("fault:errno=ENOSPC").error, ENOSPC);
    const auto delay = parsed<DelayOptions>("delay:time=1ms-5ms");
    EXPECT_TRUE(delay.least == 1ms && delay.most == 5ms);
    const auto fixed = parsed<DelayOptions>("delay:op=flush,time=60s");
    EXPECT_TRUE(fixed.least == 60s && fixed.most == 60s);
    EXPECT_EQ(parsed<DelayOptions>("delay:time=7us").most, 7us);
    EXPECT_EQ(parsed<ShortOptions>("short", 4096).unit, 4096U) << "answers in blocks of the device";
    EXPECT_EQ(parsed<CrashOptions>("crash:signal=SEGV").signal, SIGSEGV);
    const auto corrupt = parsed<CorruptOptions>("corrupt");
    EXPECT_TRUE(corrupt.which.ops == Ops(uapi::IoOp::read) && corrupt.part == CorruptOptions::Part::data);
    const auto guards = parsed<CorruptOptions>("corrupt:op=read+write,part=guard,rate=0.5");
    EXPECT_TRUE(guards.which.ops.has(uapi::IoOp::write) && guards.part == CorruptOptions::Part::guard);
    const auto exits = parsed<CrashOptions>("crash:at=9,exit=3");
    EXPECT_TRUE(exits.signal == 0 && exits.status == 3 && exits.which.after == 8);
    const auto record = parsed<RecordRequest>("record:file=a=b.jsonl,last=16");
    EXPECT_EQ(record.file, "a=b.jsonl");
    EXPECT_EQ(record.last, 16U);
}

struct WrongText {
    const char* text;
    const char* named; // what the complaint must name
};

TEST(WithOption, RefusesWhatMakesNoSenseAndNamesIt)
{
    const std::vector<WrongText> rows{
        {"", "''"},
        {"floppy", "'floppy'"},
        {"fault:op=wirte", "'wirte'"},
        {"fault:op=", "op ''"},
        {"fault:op=read+", "op ''"},
        {"fault:op=write-same", "'write-same'"}, // the driver never sends one
        {"fault:sectors=9-8", "'9-8'"},
        {"fault:sectors=1-2-3", "'1-2-3'"},
        {"fault:sectors=-1", "'-1'"},
        {"fault:sectors=18446744073709551616", "'18446744073709551616'"},
        {"fault:every=0", "every '0'"},
        {"fault:first=0", "first '0'"},
        {"fault:at=0", "at '0'"},
        {"fault:every=1x", "every '1x'"},
        {"fault:at=1,every=2", "at does not go with"},
        {"fault:rate=1.5", "rate '1.5'"},
        {"fault:rate=-0.1", "rate '-0.1'"},
        {"fault:rate=nan", "rate 'nan'"},
        {"fault:rate=1%", "rate '1%'"},
        {"fault:errno=EVERYTHING", "'EVERYTHING'"},
        {"fault:errno=5", "errno '5'"},
        {"fault:time=1ms", "'time'"},
        {"fault:op=read,op=write", "op is given twice"},
        {"fault:every", "'every'"},
        {"fault:=3", "'=3'"},
        {"fault:every=2,", "''"},
        {"delay", "time=2ms"},
        {"delay:time=2", "time '2'"},
        {"delay:time=5ms-1ms", "'5ms-1ms'"},
        {"delay:time=61s", "'61s'"},
        {"delay:time=1h", "'1h'"},
        {"corrupt:part=tag", "part 'tag'"},
        {"corrupt:op=read+flush", "reads and writes"},
        {"crash:signal=HUP", "'HUP'"},
        {"crash:signal=KILL,exit=1", "signal does not go with exit"},
        {"crash:exit=256", "exit '256'"},
        {"record", "file=PATH"},
        {"record:file=", "file=PATH"},
        {"record:file=a,last=0", "last '0'"},
        {"record:file=a,op=read", "'op'"},
    };
    for (const auto& [text, named] : rows) {
        const auto request = parse_decorator(text, 512);
        ASSERT_FALSE(request.has_value()) << text;
        EXPECT_THAT(request.error(), HasSubstr(named)) << text;
        EXPECT_EQ(request.error().find('\n'), std::string::npos) << text;
    }
}

TEST(WithOption, MayBeRepeatedAndTakesNothingElseAlong)
{
    const auto command =
        parse({"add", "--with", "delay:time=1ms", "--with", "fault:op=write", "--type", "memory"});
    ASSERT_TRUE(command.has_value()) << command.error().text;
    const auto& add = std::get<AddCommand>(*command);
    ASSERT_EQ(add.decorators.size(), 2U);
    EXPECT_TRUE(std::holds_alternative<DelayOptions>(add.decorators[0]));
    EXPECT_TRUE(std::holds_alternative<FaultOptions>(add.decorators[1]));
    const auto stray = parse({"add", "--type", "memory", "--with", "fault", "crash"});
    ASSERT_FALSE(stray.has_value());
    EXPECT_THAT(stray.error().text, HasSubstr("crash"));
    const auto wrong = parse({"add", "--type", "memory", "--with", "fault:op=wirte"});
    ASSERT_FALSE(wrong.has_value());
    EXPECT_THAT(wrong.error().text, HasSubstr("--with 'fault:op=wirte': op 'wirte' is none"));
}

TEST(WithOption, IsExplainedByHelp)
{
    const auto help = parse({"add", "--help"});
    ASSERT_FALSE(help.has_value());
    for (const char* word :
         {"--with", "fault", "delay", "short", "corrupt", "crash", "record", "errno=", "sectors=", "SIGUSR1"})
        EXPECT_THAT(help.error().text, HasSubstr(word));
}

} // namespace
} // namespace ublk::serve
