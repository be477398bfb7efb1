#include "vm/kernel_modules.hpp"
#include "vm/tests/kernel_fixture.hpp"

namespace vm_test {
namespace {

class Modules : public testing::Test {
  protected:
    void module(const std::string& file, std::string_view depends = "", std::string_view softdep = "",
                std::string_view alias = "")
    {
        write(directory_ / "kernel" / file, module_file("7.3.4", depends, softdep, alias));
    }
    std::vector<std::string> closure(std::vector<std::string> names)
    {
        const auto files = vm::module_closure(vm::ModuleIndex::of(directory_.path()), names);
        EXPECT_TRUE(files) << files.error().message;
        std::vector<std::string> found;
        for (const auto& file : files.value_or(std::vector<fs::path>{}))
            found.push_back(file.filename());
        return found;
    }
    std::string failure(std::vector<std::string> names)
    {
        const auto files = vm::module_closure(vm::ModuleIndex::of(directory_.path()), names);
        EXPECT_FALSE(files);
        return files ? "" : files.error().message;
    }
    TemporaryDirectory directory_;
};

using Names = std::vector<std::string>;

TEST_F(Modules, what_is_needed_comes_first_and_each_once)
{
    module("top.ko", "left,right");
    module("left.ko", "bottom");
    module("right.ko", "bottom");
    module("bottom.ko");
    EXPECT_EQ(closure({"top", "left"}), (Names{"bottom.ko", "left.ko", "right.ko", "top.ko"}));
}

TEST_F(Modules, dashes_and_underscores_are_the_same)
{
    module("virtio-rng.ko", "rng-core");
    module("rng_core.ko");
    EXPECT_EQ(closure({"virtio_rng"}), (Names{"rng_core.ko", "virtio-rng.ko"}));
    EXPECT_EQ(closure({"virtio-rng"}), (Names{"rng_core.ko", "virtio-rng.ko"}));
}

TEST_F(Modules, built_in_ones_need_no_file)
{
    write(directory_ / "modules.builtin", "kernel/drivers/char/virtio_console.ko\nkernel/lib/crc16.ko\n");
    module("fs.ko", "crc16");
    EXPECT_EQ(closure({"virtio_console", "fs"}), Names{"fs.ko"});
}

TEST_F(Modules, soft_dependencies_count_where_they_exist)
{
    module("fs.ko", "", "pre: crc32c missing post: later");
    module("crc32c.ko");
    module("later.ko");
    EXPECT_EQ(closure({"fs"}), (Names{"crc32c.ko", "fs.ko"}));
}

TEST_F(Modules, soft_dependencies_may_name_what_a_checksum_is_called)
{
    module("fs/fs.ko", "", "pre: crypto-crc32c pre: crypto-other");
    module("crypto/crc32c-cryptoapi.ko", "lib", "", "crypto-crc32c");
    module("drivers/crypto-crc32c-card.ko", "", "", "crypto-other");
    module("lib.ko");
    EXPECT_EQ(closure({"fs"}), (Names{"lib.ko", "crc32c-cryptoapi.ko", "fs.ko"}));
}

TEST_F(Modules, a_circle_ends)
{
    module("a.ko", "b");
    module("b.ko", "a");
    EXPECT_EQ(closure({"a"}), (Names{"b.ko", "a.ko"}));
}

TEST_F(Modules, what_is_missing_is_named_with_who_wants_it)
{
    module("top.ko", "bottom");
    EXPECT_NE(failure({"nothere"}).find("nothere"), std::string::npos);
    EXPECT_NE(failure({"top"}).find("bottom, which its top needs"), std::string::npos) << failure({"top"});
}

TEST_F(Modules, a_file_that_is_no_module_is_named)
{
    for (const auto* content : {"", "text",
                                "\x7f"
                                "ELF"}) {
        write(directory_ / "kernel/bad.ko", content);
        EXPECT_NE(failure({"bad"}).find("bad.ko"), std::string::npos) << content;
    }
    auto cut = module_file("7.3.4");
    for (auto size = cut.size() - 1; size > 0; size /= 2) {
        write(directory_ / "kernel/bad.ko", cut.substr(0, size));
        EXPECT_NE(failure({"bad"}).find("bad.ko"), std::string::npos) << size;
    }
}

} // namespace
} // namespace vm_test
