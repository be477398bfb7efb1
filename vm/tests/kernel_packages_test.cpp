#include <gtest/gtest.h>

#include "vm/kernel_packages.hpp"

namespace {

vm::PackageRecord record(std::string name, std::string version = "1-1",
                         std::string suite = "trixie-backports")
{
    return {.name = std::move(name),
            .version = std::move(version),
            .suite = std::move(suite),
            .filename = "pool/x",
            .size = 1,
            .sha256 = "00"};
}

TEST(KernelPackages, an_index_is_read_whole_from_pieces_of_any_size)
{
    const std::string index =
        "Package: bash\nVersion: 5\nFilename: pool/b\nSHA256: 11\n\n"
        "Package: linux-image-6.18.5+deb13-cloud-amd64\nVersion: 6.18.5-1~bpo13+1\n"
        "Filename: pool/i.deb\nSize: 34402644\nSHA256: 22\n\n"
        "Package: linux-binary-7.3.4+deb13-cloud-amd64\nVersion: 7.3.4-1\nFilename: pool/b.deb\n"
        "Size: 7\nSHA256: 33"; // no newline at the end
    for (std::size_t piece = 1; piece < index.size() + 1; ++piece) {
        vm::PackageIndexReader reader("trixie");
        for (std::size_t at = 0; at < index.size(); at += piece)
            reader.feed(std::string_view(index).substr(at, piece));
        const auto records = reader.finish();
        ASSERT_EQ(records.size(), 2U) << "pieces of " << piece;
        EXPECT_EQ(records[0].version, "6.18.5-1~bpo13+1");
        EXPECT_EQ(records[0].size, 34402644U);
        EXPECT_EQ(records[1].name, "linux-binary-7.3.4+deb13-cloud-amd64");
        EXPECT_EQ(records[1].sha256, "33");
        EXPECT_EQ(records[1].suite, "trixie");
    }
}

TEST(KernelPackages, a_record_without_hash_is_not_offered)
{
    vm::PackageIndexReader reader("trixie");
    reader.feed("Package: linux-image-6.18.5+deb13-cloud-amd64\nVersion: 1\nFilename: pool/i.deb\n\n");
    EXPECT_TRUE(reader.finish().empty());
}

TEST(KernelPackages, only_signed_ordinary_kernels_count)
{
    for (const auto* name : {"linux-image-6.18.5+deb13-cloud-amd64", "linux-binary-7.3.4+deb13-amd64",
                             "linux-modules-7.3-rc7-cloud-amd64", "linux-base-7.3.4+deb13-cloud-amd64"})
        EXPECT_TRUE(vm::is_kernel_package(name)) << name;
    for (const auto* name :
         {"linux-image-amd64", "linux-image-cloud-amd64", "linux-image-6.12.107+deb13-cloud-amd64-dbg",
          "linux-image-6.12.107+deb13-cloud-amd64-unsigned", "linux-image-6.12.107+deb13-rt-amd64",
          "linux-headers-7.3.4+deb13-cloud-amd64", "linux-image-6.1.0-9-arm64", "bash", ""})
        EXPECT_FALSE(vm::is_kernel_package(name)) << name;
}

TEST(KernelPackages, debian_versions_order_as_dpkg_orders_them)
{
    const auto older = [](std::string_view a, std::string_view b) {
        EXPECT_LT(vm::compare_debian_versions(a, b), 0) << a << " < " << b;
        EXPECT_GT(vm::compare_debian_versions(b, a), 0) << b << " > " << a;
    };
    older("7.3.4-1~bpo13+1", "7.3.4-1");
    older("6.19.6-1~bpo13+1", "6.19.6-2~bpo13+1");
    older("6.9-1", "6.12-1");
    older("7.3~rc7-1~exp1", "7.3-1");
    older("7.3-9", "1:6.1-1");
    older("1.0-1", "1.0-1+b1");
    older("1.0a", "1.0+");
    older("1.0", "1.0a");
    EXPECT_EQ(vm::compare_debian_versions("6.12.107-1", "6.12.107-1"), 0);
    EXPECT_EQ(vm::compare_debian_versions("1.01", "1.1"), 0);
}

TEST(KernelPackages, three_layouts_are_told_apart)
{
    const auto kernels = vm::kernels_in(
        {record("linux-image-6.18.5+deb13-cloud-amd64"),
         record("linux-image-7.0.4+deb13-cloud-amd64", "7.0.4-1~bpo13+1"),
         record("linux-binary-7.0.4+deb13-cloud-amd64", "7.0.4-1~bpo13+1"),
         record("linux-image-7.3.4+deb13-cloud-amd64"), record("linux-binary-7.3.4+deb13-cloud-amd64"),
         record("linux-modules-7.3.4+deb13-cloud-amd64"), record("linux-base-7.3.4+deb13-cloud-amd64")},
        "cloud-amd64");
    ASSERT_EQ(kernels.size(), 3U);
    EXPECT_EQ(kernels[0].layout, vm::PackageLayout::whole);
    EXPECT_EQ(kernels[0].packages.size(), 1U);
    EXPECT_EQ(kernels[2].layout, vm::PackageLayout::split);
    EXPECT_EQ(kernels[2].packages.size(), 3U);

    ASSERT_EQ(kernels[1].layout, vm::PackageLayout::unindexed);
    const auto& modules = kernels[1].packages.at(1);
    EXPECT_EQ(modules.filename,
              "pool/main/l/linux/linux-modules-7.0.4+deb13-cloud-amd64_7.0.4-1~bpo13+1_amd64.deb");
    EXPECT_TRUE(modules.sha256.empty());
}

TEST(KernelPackages, modules_of_another_build_are_not_taken_for_the_binarys)
{
    const auto kernels = vm::kernels_in({record("linux-binary-7.3.4+deb13-cloud-amd64", "7.3.4-2"),
                                         record("linux-modules-7.3.4+deb13-cloud-amd64", "7.3.4-1"),
                                         record("linux-base-7.3.4+deb13-cloud-amd64", "7.3.4-2")},
                                        "cloud-amd64");
    ASSERT_EQ(kernels.size(), 1U);
    EXPECT_EQ(kernels[0].layout, vm::PackageLayout::unindexed);
}

TEST(KernelPackages, a_flavour_is_the_whole_end_of_the_name)
{
    const std::vector records{record("linux-image-6.18.5+deb13-cloud-amd64"),
                              record("linux-image-6.18.5+deb13-amd64"), record("linux-image-7.3-rc7-amd64"),
                              record("linux-image-7.3-rc7-cloud-amd64")};
    const auto plain = vm::kernels_in(records, "amd64");
    ASSERT_EQ(plain.size(), 2U);
    EXPECT_EQ(plain[0].release, "6.18.5+deb13-amd64");
    EXPECT_EQ(plain[1].release, "7.3-rc7-amd64");
    EXPECT_EQ(vm::kernels_in(records, "cloud-amd64").size(), 2U);
}

TEST(KernelPackages, a_candidate_is_known_by_its_package_version)
{
    const auto kernels =
        vm::kernels_in({record("linux-image-7.3-cloud-amd64", "7.3~rc7-1~exp1")}, "cloud-amd64");
    ASSERT_EQ(kernels.size(), 1U);
    EXPECT_EQ(kernels[0].release, "7.3-cloud-amd64");
    EXPECT_EQ(kernels[0].version.text(), "7.3-rc7");
}

TEST(KernelPackages, the_highest_package_version_of_a_release_wins)
{
    const auto name = "linux-image-6.12.107+deb13-cloud-amd64";
    for (const bool reversed : {false, true}) {
        std::vector records{record(name, "6.12.107-1", "trixie"),
                            record(name, "6.12.107-2", "trixie-updates")};
        if (reversed)
            std::swap(records[0], records[1]);
        const auto kernels = vm::kernels_in(records, "cloud-amd64");
        ASSERT_EQ(kernels.size(), 1U);
        EXPECT_EQ(kernels[0].package_version, "6.12.107-2");
        EXPECT_EQ(kernels[0].suite, "trixie-updates");
    }
}

} // namespace
