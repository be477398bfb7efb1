#include <functional>

#include "vm/kernel_image.hpp"
#include "vm/tests/kernel_fixture.hpp"

namespace vm_test {
namespace {

using Fetch = KernelStoreTest;
using UserKernel = KernelStoreTest;

const std::string whole = "6.18.5+deb13-cloud-amd64";
const std::string split = "7.3.4+deb13-cloud-amd64";

TEST_F(Fetch, a_whole_package_becomes_a_kernel_once)
{
    add_whole(whole);
    const auto kernel = fetch("6.18");
    ASSERT_TRUE(kernel) << kernel.error().message;
    EXPECT_EQ(kernel->release, whole);
    EXPECT_EQ(kernel->typed, "6.18.5");
    EXPECT_FALSE(kernel->sig_enforce);
    EXPECT_EQ(read(kernel->image), boot_image(whole));
    EXPECT_TRUE(fs::exists(kernel->modules / "kernel/drivers/block/ublk_drv.ko"));
    EXPECT_TRUE(fetch("6.18"));
    EXPECT_EQ(archive_->downloads, 1);
}

TEST_F(Fetch, a_split_kernel_comes_from_three_packages)
{
    add_split(split, true);
    const auto kernel = fetch("7.3");
    ASSERT_TRUE(kernel) << kernel.error().message;
    EXPECT_FALSE(kernel->sig_enforce);
    EXPECT_TRUE(fs::exists(kernel->modules / "modules.order"));
    EXPECT_EQ(archive_->downloads, 3);
}

TEST_F(Fetch, modules_in_no_index_are_said_to_be_verified_by_their_signatures)
{
    add_split(split, false);
    const auto kernel = fetch("7.3");
    ASSERT_TRUE(kernel) << kernel.error().message;
    EXPECT_TRUE(kernel->sig_enforce);
    EXPECT_NE(kernel->source.find("signatures only"), std::string::npos) << kernel->source;
    const auto again = fetch("7.3");
    EXPECT_TRUE(again->sig_enforce) << "from the cache too";
}

TEST_F(Fetch, an_unverified_package_cannot_replace_the_image)
{
    add_split(split, false);
    auto files = module_files(split);
    files["./usr/lib/modules/" + split + "/vmlinuz"] = boot_image(split) + "evil";
    files["./boot/vmlinuz-" + split] = boot_image(split) + "evil";
    add("linux-modules-" + split, "1-1", "", debian_package(files), false);
    const auto kernel = fetch("7.3");
    ASSERT_TRUE(kernel) << kernel.error().message;
    EXPECT_EQ(read(kernel->image), boot_image(split));
}

TEST_F(Fetch, modules_that_left_the_pool_are_a_clear_error)
{
    add_split(split, false);
    std::erase_if(archive_->pool,
                  [](const auto& file) { return file.first.find("modules") != std::string::npos; });
    const auto kernel = fetch("7.3");
    ASSERT_FALSE(kernel);
    EXPECT_EQ(kernel.error().kind, vm::Error::Kind::unavailable);
    EXPECT_NE(kernel.error().message.find("linux-modules-" + split), std::string::npos)
        << kernel.error().message;
}

TEST_F(Fetch, a_damaged_cache_is_noticed_and_fetched_again_with_one_line)
{
    add_whole(whole);
    const auto image = fetch("6.18").value().image;
    const auto modules = fetch("6.18").value().modules;
    const std::vector<std::function<void()>> damages{
        [&] { write(image, boot_image(whole) + "x"); },
        [&] { fs::resize_file(image, 100); },
        [&] { fs::remove(modules / "kernel/drivers/block/ublk_drv.ko"); },
        [&] { write(modules / "kernel/drivers/block/extra.ko", "x"); },
        [&] { write(image.parent_path() / "manifest.json", "{\"schema\": 1"); },
        [&] { write(image.parent_path() / "manifest.json", "[]"); },
        [&] { fs::remove(image.parent_path() / "manifest.json"); },
    };
    for (std::size_t i = 0; i < damages.size(); ++i) {
        damages.at(i)();
        notes_.clear();
        archive_->downloads = 0;
        const auto kernel = fetch("6.18");
        ASSERT_TRUE(kernel) << i << ": " << kernel.error().message;
        EXPECT_EQ(archive_->downloads, 1) << i;
        EXPECT_TRUE(said("damaged")) << i;
        EXPECT_EQ(read(kernel->image), boot_image(whole)) << i;
    }
}

TEST_F(Fetch, a_package_that_arrives_damaged_is_loaded_again_once)
{
    add_whole(whole);
    const auto file = archive_->usual.at(0).filename;
    archive_->first_download[file] = "half";
    EXPECT_TRUE(fetch("6.18"));
    EXPECT_TRUE(said("again"));

    archive_->pool[file] = "something else";
    fs::remove_all(directory_ / "cache/kernels" / whole);
    const auto kernel = fetch("6.18");
    ASSERT_FALSE(kernel);
    EXPECT_EQ(kernel.error().kind, vm::Error::Kind::unavailable);
    EXPECT_TRUE(fs::is_empty(directory_ / "cache/kernels")) << "nothing half-made stays";
}

TEST_F(Fetch, a_truncated_package_without_hash_is_noticed_by_its_structure)
{
    add_split(split, false);
    const auto name = "pool/main/l/linux/linux-modules-" + split + "_1-1_amd64.deb";
    const auto good = archive_->pool.at(name);
    archive_->first_download[name] = good.substr(0, good.size() / 2);
    EXPECT_TRUE(fetch("7.3"));
    EXPECT_TRUE(said("again"));
}

TEST_F(Fetch, offline_the_cache_serves_and_says_so)
{
    add_whole(whole);
    ASSERT_TRUE(fetch("6.18"));
    archive_->offline = true;
    EXPECT_TRUE(fetch("6.18"));
    EXPECT_TRUE(said("only cached"));
    archive_->index_loads = 0;
    EXPECT_TRUE(fetch("6.18.5"));
    EXPECT_EQ(archive_->index_loads, 0) << "a full version that is cached needs no index";
}

TEST_F(Fetch, a_cached_kernel_outlives_its_package)
{
    add_whole(whole);
    ASSERT_TRUE(fetch("6.18"));
    archive_->usual.clear();
    archive_->pool.clear();
    add_whole("6.12.5+deb13-cloud-amd64");
    EXPECT_EQ(fetch("latest").value().release, whole);
    EXPECT_EQ(store().list().value().back().suite, "");

    write(directory_ / "cache/kernels" / whole / "vmlinuz", "x");
    const auto lost = fetch("6.18");
    ASSERT_FALSE(lost);
    EXPECT_NE(lost.error().message.find("gone from the archive"), std::string::npos) << lost.error().message;
}

TEST_F(Fetch, a_cached_candidate_stays_one)
{
    add_whole("7.3-cloud-amd64", "7.3~rc7-1~exp1");
    add_whole(whole, "6.18.5-1");
    ASSERT_TRUE(fetch("7.3-rc7"));
    EXPECT_EQ(fetch("latest").value().release, whole);
    archive_->offline = true;
    EXPECT_EQ(fetch("7.3-rc7").value().release, "7.3-cloud-amd64");
    EXPECT_FALSE(fetch("7.3"));
}

TEST_F(Fetch, a_rebuilt_package_replaces_the_cached_one)
{
    add_whole(whole, "6.18.5-1");
    ASSERT_TRUE(fetch("6.18"));
    add("linux-image-" + whole, "6.18.5-2", "trixie-backports", whole_package(whole));
    const auto kernel = fetch("6.18");
    EXPECT_NE(kernel.value().source.find("6.18.5-2"), std::string::npos) << kernel->source;
}

TEST_F(Fetch, what_a_dead_run_left_behind_is_neither_used_nor_kept)
{
    add_whole(whole);
    write(directory_ / "cache/kernels" / (".new-" + whole) / "vmlinuz", "half");
    EXPECT_EQ(store().list().value().size(), 1U);
    const auto kernel = fetch("6.18");
    EXPECT_EQ(read(kernel.value().image), boot_image(whole));
    EXPECT_FALSE(fs::exists(directory_ / "cache/kernels" / (".new-" + whole)));
}

TEST_F(Fetch, a_kernel_without_the_driver_is_refused_by_name)
{
    auto files = module_files(whole);
    std::erase_if(files, [](const auto& file) { return file.first.find("ublk_drv") != std::string::npos; });
    files["./lib/modules/" + whole + "/kernel/loop.ko"] = module_file(whole);
    files["./boot/vmlinuz-" + whole] = boot_image(whole);
    add("linux-image-" + whole, "1-1", "trixie", debian_package(files));
    const auto kernel = fetch("6.18");
    ASSERT_FALSE(kernel);
    EXPECT_NE(kernel.error().message.find(whole), std::string::npos) << kernel.error().message;
    EXPECT_NE(kernel.error().message.find("CONFIG_BLK_DEV_UBLK"), std::string::npos)
        << kernel.error().message;

    files["./usr/lib/modules/" + whole + "/modules.builtin"] = "kernel/drivers/block/ublk_drv.ko\n";
    add("linux-image-" + whole, "1-2", "trixie", debian_package(files));
    EXPECT_TRUE(fetch("6.18")) << "built in is as good";
}

TEST_F(UserKernel, packages_may_be_cut_in_any_way)
{
    write(directory_ / "whole.deb", whole_package(whole));
    EXPECT_EQ(fetch((directory_ / "whole.deb").string()).value().release, whole);

    write(directory_ / "modules.deb", debian_package(module_files(split)));
    write(directory_ / "binary.deb", debian_package({{"./boot/vmlinuz-" + split, boot_image(split)}}));
    const auto both = (directory_ / "modules.deb").string() + "," + (directory_ / "binary.deb").string();
    const auto kernel = fetch(both);
    ASSERT_TRUE(kernel) << kernel.error().message;
    EXPECT_EQ(kernel->release, split);
    EXPECT_EQ(kernel->typed, both);
}

TEST_F(UserKernel, incomplete_mixed_and_truncated_packages_are_clear_errors)
{
    const auto message = [&](const std::string& text) {
        const auto kernel = fetch(text);
        EXPECT_FALSE(kernel) << text;
        return kernel ? std::string{} : kernel.error().message;
    };
    const auto at = [&](const char* name) { return (directory_ / name).string(); };
    write(at("modules.deb"), debian_package(module_files(split)));
    EXPECT_NE(message(at("modules.deb")).find("no kernel image"), std::string::npos);
    write(at("binary.deb"), debian_package({{"./boot/vmlinuz-" + split, boot_image(split)}}));
    EXPECT_NE(message(at("binary.deb")).find("linux-modules-" + split), std::string::npos);
    write(at("other.deb"), whole_package(whole));
    EXPECT_NE(message(at("modules.deb") + "," + at("other.deb")).find("one kernel"), std::string::npos);
    const auto package = whole_package(whole);
    for (const auto size :
         {std::size_t{0}, std::size_t{7}, std::size_t{60}, package.size() / 2, package.size() - 20}) {
        write(at("short.deb"), package.substr(0, size));
        EXPECT_NE(message(at("short.deb")).find("short.deb is not a whole Debian package"), std::string::npos)
            << size;
    }
    write(at("outside.deb"), debian_package({{"./lib/modules/" + whole + "/../../../../x", "x"}}));
    EXPECT_NE(message(at("outside.deb")).find(".."), std::string::npos);
    EXPECT_TRUE(fs::is_empty(directory_ / "cache/kernels"));
}

TEST_F(UserKernel, an_image_needs_its_own_modules)
{
    write(directory_ / "bzImage", boot_image("7.9.0-mine"));
    write(directory_ / "mods/kernel/ublk_drv.ko", module_file("7.9.0-mine"));
    write(directory_ / "mods/modules.order", "");
    const auto text = (directory_ / "bzImage").string() + ":" + (directory_ / "mods").string();
    const auto kernel = fetch(text);
    ASSERT_TRUE(kernel) << kernel.error().message;
    EXPECT_EQ(kernel->release, "7.9.0-mine");

    write(directory_ / "mods/kernel/ublk_drv.ko", module_file("7.8.0-other"));
    EXPECT_NE(fetch(text).error().message.find("7.8.0-other"), std::string::npos);
    write(directory_ / "bzImage", "MZ, but no kernel");
    EXPECT_NE(fetch(text).error().message.find("not a bzImage"), std::string::npos);
}

TEST_F(UserKernel, a_build_tree_serves_its_image_and_modules)
{
    const auto tree = directory_ / "linux";
    write(tree / "include/config/kernel.release", "7.9.0-mine\n");
    fs::create_directories(tree / "kernel"); // as every kernel's source has
    EXPECT_NE(fetch(tree.string()).error().message.find("make bzImage modules"), std::string::npos);
    write(tree / "arch/x86/boot/bzImage", boot_image("7.9.0-mine"));
    EXPECT_NE(fetch(tree.string()).error().message.find("CONFIG_BLK_DEV_UBLK"), std::string::npos);
    write(tree / "modules.order", "drivers/block/ublk_drv.o\nkernel/crypto/old.ko\n");
    write(tree / "drivers/block/ublk_drv.ko", module_file("7.9.0-mine", "old"));
    write(tree / "crypto/old.ko", module_file("7.9.0-mine"));
    const auto kernel = fetch(tree.string());
    ASSERT_TRUE(kernel) << kernel.error().message;
    const std::vector<std::string> names{"ublk_drv"};
    EXPECT_EQ(vm::module_closure(*kernel, names).value(),
              (std::vector<fs::path>{tree / "crypto/old.ko", tree / "drivers/block/ublk_drv.ko"}));

    write(tree / "lib/modules/7.9.0-mine/kernel/ublk_drv.ko", module_file("7.9.0-mine"));
    write(tree / "lib/modules/7.9.0-mine/modules.builtin", "");
    EXPECT_EQ(fetch(tree.string()).value().modules, tree / "lib/modules/7.9.0-mine")
        << "installed goes first";
}

TEST(BootImage, the_header_is_checked)
{
    const TemporaryDirectory directory;
    const auto release = [&](const std::string& content) {
        write(directory / "image", content);
        return vm::release_of_image(directory / "image");
    };
    EXPECT_EQ(release(boot_image("7.3.4+deb13-cloud-amd64")).value(), "7.3.4+deb13-cloud-amd64");
    auto image = boot_image("7.3.4");
    EXPECT_FALSE(release(image.substr(0, 0x262)));
    EXPECT_NE(release(image.substr(0, image.size() - 1)).error().message.find("cut off"), std::string::npos);
    for (const std::size_t at : {0x1feU, 0x202U, 0x205U}) {
        auto wrong = image;
        wrong.at(at) = 'x';
        EXPECT_NE(release(wrong).error().message.find("not a bzImage"), std::string::npos) << at;
    }
    image.at(0x20f) = '\x7f'; // the version lies behind the end
    EXPECT_NE(release(image).error().message.find("version string"), std::string::npos);
    EXPECT_EQ(vm::release_of_image(directory / "none").error().kind, vm::Error::Kind::usage);
}

} // namespace
} // namespace vm_test
