#include "ublk/engine/device_options.hpp"

#include <cerrno>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <vector>

namespace ublk::engine {
namespace {

using ::testing::HasSubstr;
using uapi::Feature;
using uapi::Features;

constexpr Geometry usual{.size = 1 << 20, .block_size = 4096, .attrs = {}};
constexpr Features all_of_6_12 = Features::from_raw(0x1fe);

DeviceOptions with(DataPath path)
{
    DeviceOptions options;
    options.serving.data_path = path;
    return options;
}

TEST(DeviceOptions, AreValidAsTheyCome)
{
    EXPECT_TRUE(validate({}, usual, false));
    EXPECT_TRUE(validate({}, usual, false, all_of_6_12));
}

struct WrongRow {
    DeviceOptions options;
    Geometry geometry;
    int code;
    const char* named;
};

TEST(DeviceOptions, AreRefusedWithTheFirstThingThatIsWrong)
{
    const std::vector<WrongRow> rows{
        {{.queues = 0}, usual, EINVAL, "0 queues"},
        {{.queues = 5000}, usual, EINVAL, "5000 queues"},
        {{.depth = 0}, usual, EINVAL, "depth 0"},
        {{.depth = 4097}, usual, EINVAL, "depth 4097"},
        {{.max_io_bytes = 6000}, usual, EINVAL, "largest request 6000"},
        {{.depth = 4, .serving = {.threads_per_queue = 5}}, usual, EINVAL, "5 threads"},
        {{.serving = {.threads_per_queue = 0}}, usual, EINVAL, "0 threads"},
        {{.serving = {.batch = true, .threads_per_queue = 2}}, usual, EINVAL, "batches with 2 threads"},
        {{.serving = {.data_path = DataPath::get_data, .batch = true}}, usual, EINVAL, "get-data"},
        {{}, {.size = 0, .block_size = 512, .attrs = {}}, EINVAL, "size 0"},
        {{}, {.size = 1000, .block_size = 512, .attrs = {}}, EINVAL, "size 1000"},
        {{}, {.size = 8192, .block_size = 8192, .attrs = {}}, EINVAL, "block size 8192"},
        {{}, {.size = 8192, .block_size = 768, .attrs = {}}, EINVAL, "block size 768"},
        {with(DataPath::zero_copy), usual, EOPNOTSUPP, "zero-copy"},
        {with(DataPath::auto_buf), usual, EOPNOTSUPP, "auto-buf"},
    };
    for (const auto& row : rows) {
        const auto checked = validate(row.options, row.geometry, false);
        ASSERT_FALSE(checked) << row.named;
        EXPECT_EQ(checked.error().code, row.code);
        EXPECT_THAT(checked.error().message(), HasSubstr(row.named));
        EXPECT_FALSE(checked.error().hint.empty());
    }
}

TEST(DeviceOptions, NameTheFeaturesThatAKernelLacks)
{
    const auto no_zero_copy = validate(with(DataPath::auto_buf), usual, true, all_of_6_12);
    ASSERT_FALSE(no_zero_copy);
    EXPECT_EQ(no_zero_copy.error().code, EOPNOTSUPP);
    EXPECT_THAT(no_zero_copy.error().hint, HasSubstr("AUTO_BUF_REG"));
    EXPECT_TRUE(
        validate(with(DataPath::auto_buf), usual, true, Feature::support_zero_copy | Feature::auto_buf_reg));
    EXPECT_FALSE(validate({.serving = {.threads_per_queue = 2}}, usual, true, all_of_6_12));
    EXPECT_FALSE(validate({.serving = {.batch = true}}, usual, true, all_of_6_12));
    EXPECT_FALSE(validate({.recovery = Recovery::fail_io}, usual, true, all_of_6_12));
    EXPECT_TRUE(validate({.recovery = Recovery::reissue}, usual, true, all_of_6_12));
}

TEST(DeviceOptions, AreReadBackFromTheFeaturesTheyAskFor)
{
    for (const DataPath path : data_paths)
        EXPECT_EQ(data_path_of(needed_features(path)), path) << to_string(path);
    for (const Recovery recovery : recoveries)
        EXPECT_EQ(recovery_of(needed_features(recovery)), recovery) << to_string(recovery);
}

} // namespace
} // namespace ublk::engine
