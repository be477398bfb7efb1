#include "ublk/engine/error.hpp"

#include <cerrno>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ublk {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(Error, StartsWithTheOperationAndNamesDeviceQueueTagAndErrno)
{
    const Error error = make_error("COMMIT_AND_FETCH_REQ", EINVAL, 3, std::uint16_t{1}, std::uint16_t{63});
    EXPECT_THAT(error.message(), StartsWith("COMMIT_AND_FETCH_REQ, device 3, queue 1, tag 63: "));
    EXPECT_THAT(error.message(), HasSubstr("(EINVAL)"));
}

TEST(Error, ComparesWithStandardErrorCodes)
{
    const Error error = make_error("ADD_DEV", EEXIST);
    EXPECT_TRUE(error == std::errc::file_exists);
    EXPECT_FALSE(error == std::errc::no_such_device);
}

TEST(Error, NamesTheMendOfAMissingDriver)
{
    EXPECT_THAT(make_error("open /dev/ublk-control", ENOENT).message(), HasSubstr("modprobe ublk_drv"));
}

TEST(Error, PrefersTheHintOfTheOperationToTheGeneralOne)
{
    EXPECT_THAT(usual_hint("SET_PARAMS", EACCES), HasSubstr("stop it first"));
    EXPECT_EQ(usual_hint("GET_PARAMS", EACCES), "run as root");
}

TEST(Error, HasNoEmptyHintInItsMessage)
{
    const Error error = make_error("GET_PARAMS", ERANGE);
    EXPECT_TRUE(error.hint.empty());
    EXPECT_THAT(error.message(), ::testing::EndsWith("(ERANGE)"));
}

TEST(Error, GivesANumberToAnErrnoWithoutAName)
{
    EXPECT_EQ(errno_name(4000), "errno 4000");
}

} // namespace
} // namespace ublk
