#include "reports/rundir.hpp"

#include "reports/ktap.hpp"
#include "reports/results_json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pugixml.hpp>

#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>

namespace reports {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr std::chrono::system_clock::time_point some_time{
    std::chrono::seconds{1795515300}}; // 2026-11-24T10:15:00

CaseEnded ended(std::string id, Verdict verdict)
{
    CaseEnded event;
    event.result.id = std::move(id);
    event.result.verdict = verdict;
    return event;
}

std::string content(const fs::path& file)
{
    std::ifstream in(file, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

std::vector<std::string> names_in(const fs::path& folder)
{
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder))
        names.push_back(entry.path().filename());
    return names;
}

class RunDirTest : public testing::Test {
  protected:
    void SetUp() override
    {
        std::string name = testing::TempDir() + "rundir-XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        top_ = name;
    }
    void TearDown() override { fs::remove_all(top_); }

    RunDir create(std::string_view version = "7.3.4")
    {
        auto run = RunDir::create(top_ / "out", version, some_time);
        if (!run)
            throw std::runtime_error(run.error());
        return std::move(*run);
    }

    fs::path top_;
};

TEST_F(RunDirTest, TheNameIsTheTimeAndTheVersion)
{
    EXPECT_EQ(run_folder_name(some_time, "7.3.4"), "2026-11-24T101500-7.3.4");
    EXPECT_EQ(run_folder_name(some_time, "7.3~rc7+x/../\n"), "2026-11-24T101500-7.3~rc7+x_..__");
    EXPECT_EQ(run_folder_name(some_time, ""), "2026-11-24T101500-unknown");
}

TEST_F(RunDirTest, ADiscardedRunLeavesNothingAndLatestIsWhatItWas)
{
    create("7.2").discard();
    EXPECT_THAT(names_in(top_ / "out"), testing::IsEmpty());

    const auto kept = create("7.3").path();
    auto gone = create("7.4");
    ASSERT_TRUE(gone.append(ended("A", Verdict::pass)));
    gone.discard();
    EXPECT_FALSE(fs::exists(gone.path()));
    EXPECT_EQ(fs::read_symlink(top_ / "out/latest"), kept.filename());
}

TEST_F(RunDirTest, ADiscardedRunLeavesTheLinkOfALaterOne)
{
    const auto kept = create("7.2").path();
    auto gone = create("7.3");
    const auto later = create("7.4").path();
    gone.discard();
    EXPECT_EQ(fs::read_symlink(top_ / "out/latest"), later.filename());
}

TEST_F(RunDirTest, TwoRunsInOneSecondHaveTheirOwnFoldersAndLatestIsTheSecond)
{
    const auto first = create();
    EXPECT_EQ(fs::read_symlink(top_ / "out/latest"), first.path().filename());
    const auto second = create();
    EXPECT_NE(first.path(), second.path());
    EXPECT_EQ(fs::read_symlink(top_ / "out/latest"), second.path().filename());
    EXPECT_THAT(names_in(top_ / "out"), testing::SizeIs(3)) << "two folders, one link, nothing else";
}

TEST_F(RunDirTest, EventsAreOnDiskAsTheyCome)
{
    auto run = create();
    const std::vector<Event> events{RunStarted{.planned = {"A"}}, ended("A", Verdict::pass)};
    std::string expected;
    for (const auto& event : events) {
        ASSERT_TRUE(run.append(event));
        expected += encode(event) + "\n";
        EXPECT_EQ(content(run.path() / "events.jsonl"), expected);
    }
}

TEST_F(RunDirTest, TheEndLeavesTheReports)
{
    auto run = create();
    ASSERT_TRUE(run.append(RunStarted{.planned = {"A", "B"}}));
    ASSERT_TRUE(run.append(ended("A", Verdict::fail)));
    const auto interrupted = run.finish();
    ASSERT_TRUE(interrupted) << interrupted.error();
    EXPECT_FALSE(read_results_json(content(run.path() / "results.json")).value().complete);

    ASSERT_TRUE(run.append(ended("B", Verdict::pass)));
    ASSERT_TRUE(run.append(RunEnded{.complete = true, .seconds = 2}));
    const auto folded = run.finish();
    ASSERT_TRUE(folded) << folded.error();
    EXPECT_EQ(read_results_json(content(run.path() / "results.json")).value(), folded->run);
    EXPECT_EQ(folded->run.cases.size(), 2U);
    EXPECT_EQ(content(run.path() / "results.ktap"), ktap(folded->run));
    pugi::xml_document document;
    ASSERT_TRUE(document.load_file((run.path() / "junit.xml").c_str()));
    EXPECT_EQ(document.select_nodes("//testcase").size(), 2U);
    EXPECT_THAT(names_in(run.path()),
                testing::UnorderedElementsAre("events.jsonl", "results.json", "results.ktap", "junit.xml",
                                              "index.html"));
}

TEST_F(RunDirTest, AFolderIsNotSharedWhileItsRunLives)
{
    fs::path folder;
    Folded so_far;
    {
        const auto run = create();
        folder = run.path();
        const auto second = RunDir::resume(folder, so_far);
        ASSERT_FALSE(second);
        EXPECT_THAT(second.error(), HasSubstr("another run"));
        EXPECT_TRUE(load_run(folder)) << "reading needs no lock";
    }
    EXPECT_TRUE(RunDir::resume(folder, so_far));
}

TEST_F(RunDirTest, ARunThatWasCutInALineGoesOn)
{
    fs::path folder;
    {
        auto run = create();
        folder = run.path();
        ASSERT_TRUE(run.append(RunStarted{.started = "t0", .planned = {"A", "B"}}));
        ASSERT_TRUE(run.append(ended("A", Verdict::pass)));
    }
    std::ofstream(folder / "events.jsonl", std::ios::app) << encode(ended("B", Verdict::pass)).substr(0, 30);

    Folded so_far;
    auto run = RunDir::resume(folder, so_far);
    ASSERT_TRUE(run) << run.error();
    EXPECT_THAT(so_far.run.missing(), testing::ElementsAre("B"));
    EXPECT_EQ(so_far.damaged.size(), 1U);
    ASSERT_TRUE(run->append(ended("B", Verdict::pass)));
    ASSERT_TRUE(run->append(RunEnded{.complete = true}));
    const auto folded = run->finish();
    ASSERT_TRUE(folded) << folded.error();
    EXPECT_EQ(exit_code(folded->run), exit_expected);
    EXPECT_EQ(folded->damaged.size(), 1U);
}

TEST_F(RunDirTest, AWholeLastLineIsNotTouchedByResume)
{
    fs::path folder;
    {
        auto run = create();
        folder = run.path();
        ASSERT_TRUE(run.append(RunStarted{}));
    }
    const auto before = content(folder / "events.jsonl");
    Folded so_far;
    ASSERT_TRUE(RunDir::resume(folder, so_far));
    EXPECT_EQ(content(folder / "events.jsonl"), before);
}

TEST_F(RunDirTest, ErrorsNamePathReasonAndMend)
{
    std::ofstream(top_ / "file") << "in the way";
    const auto blocked = RunDir::create(top_ / "file" / "out", "7.3.4", some_time);
    ASSERT_FALSE(blocked);
    EXPECT_THAT(blocked.error(), testing::AllOf(HasSubstr((top_ / "file").string()),
                                                HasSubstr("Not a directory"), HasSubstr("--out")));

    fs::create_directories(top_ / "out/latest");
    const auto no_link = RunDir::create(top_ / "out", "7.3.4", some_time);
    ASSERT_FALSE(no_link);
    EXPECT_THAT(no_link.error(), testing::AllOf(HasSubstr("out/latest"), HasSubstr("in the way")));

    Folded so_far;
    const auto absent = RunDir::resume(top_ / "absent", so_far);
    ASSERT_FALSE(absent);
    EXPECT_THAT(absent.error(), testing::AllOf(HasSubstr("No such file"), HasSubstr("out/latest")));
    EXPECT_FALSE(load_run(top_ / "absent"));
    EXPECT_FALSE(load_run(top_)) << "a folder that is not a run's";
}

// A disk that is full after `bytes` of a file: the limit on file sizes takes the same path through write(2).
class FullAfter {
  public:
    explicit FullAfter(rlim_t bytes)
    {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        previous_ = ::signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    FullAfter(const FullAfter&) = delete;
    FullAfter& operator=(const FullAfter&) = delete;
    ~FullAfter()
    {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        ::signal(SIGXFSZ, previous_);
    }

  private:
    rlimit before_{};
    sighandler_t previous_ = SIG_DFL;
};

TEST_F(RunDirTest, AFullDiskIsAnErrorAndLeavesWholeLines)
{
    auto run = create();
    ASSERT_TRUE(run.append(ended("A", Verdict::pass)));
    const auto whole = content(run.path() / "events.jsonl");
    {
        const FullAfter full(whole.size() + 10);
        const auto appended = run.append(ended("B", Verdict::pass));
        ASSERT_FALSE(appended);
        EXPECT_THAT(appended.error(),
                    testing::AllOf(HasSubstr("events.jsonl"), HasSubstr("free some space")));
    }
    EXPECT_EQ(content(run.path() / "events.jsonl"), whole);
    EXPECT_TRUE(run.append(ended("B", Verdict::pass))) << "and goes on when there is room";
    EXPECT_EQ(load_run(run.path()).value().run.cases.size(), 2U);
}

TEST_F(RunDirTest, AFullDiskLeavesTheOldReport)
{
    const auto file = top_ / "report";
    ASSERT_TRUE(write_whole(file, "the old one"));
    {
        const FullAfter full(100);
        const auto written = write_whole(file, std::string(200, 'x'));
        ASSERT_FALSE(written);
        EXPECT_THAT(written.error(), HasSubstr(file.string()));
    }
    EXPECT_EQ(content(file), "the old one");
    EXPECT_THAT(names_in(top_), testing::ElementsAre("report")) << "no temporary file stays";
}

TEST_F(RunDirTest, AMovedRunKeepsItsLock)
{
    auto first = create();
    auto moved = std::move(first);
    EXPECT_TRUE(moved.append(RunStarted{}));
    auto other = create();
    other = std::move(moved);
    EXPECT_TRUE(other.append(RunStarted{}));
    Folded so_far;
    EXPECT_FALSE(RunDir::resume(other.path(), so_far));
}

} // namespace
} // namespace reports
