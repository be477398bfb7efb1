#include "vm/tests/kernel_fixture.hpp"

namespace vm_test {
namespace {

using Names = std::vector<std::string>;

class Resolve : public KernelStoreTest {
  protected:
    Resolve()
    {
        image("6.1.170+deb12");
        image("6.12.43+deb12");
        image("6.12.94+deb12");
        image("6.12.94+deb13");
        image("6.12.117+deb13");
        image("6.18.5+deb13");
        image("6.18.15+deb13");
        for (const auto* version : {"7.0.9+deb13", "7.0.13+deb13", "7.3.4+deb13"})
            add(std::string("linux-binary-") + version + "-cloud-amd64", "1-1", "trixie-backports");
        add("linux-image-6.18.5+deb13-amd64", "1-1", "trixie-backports");
        add("linux-image-7.2.13+deb14-cloud-amd64", "1-1", "sid", "", true, true);
        add("linux-image-7.4-rc2-cloud-amd64", "1-1", "experimental", "", true, true);
    }
    void image(const std::string& version)
    {
        add("linux-image-" + version + "-cloud-amd64", "1-1", "trixie");
    }
};

TEST_F(Resolve, a_line_is_its_newest_build)
{
    EXPECT_EQ(resolved("7.0"), Names{"7.0.13+deb13-cloud-amd64"});
    EXPECT_EQ(resolved("6.12"), Names{"6.12.117+deb13-cloud-amd64"});
    EXPECT_EQ(resolved("latest"), Names{"7.3.4+deb13-cloud-amd64"});
}

TEST_F(Resolve, a_full_version_is_that_one_and_of_two_the_newer_distribution)
{
    EXPECT_EQ(resolved("6.12.43"), Names{"6.12.43+deb12-cloud-amd64"});
    EXPECT_EQ(resolved("6.12.94"), Names{"6.12.94+deb13-cloud-amd64"});
    EXPECT_EQ(resolved("6.12.94+deb12"), Names{"6.12.94+deb12-cloud-amd64"});
    EXPECT_EQ(resolved("6.18.5+deb13-amd64"), Names{"6.18.5+deb13-amd64"}) << "a release says its flavour";
}

TEST_F(Resolve, all_is_the_newest_of_each_line_that_can_have_the_driver)
{
    EXPECT_EQ(resolved("all"), (Names{"6.12.117+deb13-cloud-amd64", "6.18.15+deb13-cloud-amd64",
                                      "7.0.13+deb13-cloud-amd64", "7.3.4+deb13-cloud-amd64"}));
}

TEST_F(Resolve, several_come_in_the_order_given_each_once)
{
    const Names both{"7.3.4+deb13-cloud-amd64", "6.18.15+deb13-cloud-amd64"};
    for (const auto* text : {"7.3 6.18", "7.3,6.18", " 7.3 ,  6.18, ", "7.3.4 6.18 latest 7.3"})
        EXPECT_EQ(resolved(text), both) << text;
}

TEST_F(Resolve, unreleased_suites_are_asked_only_for_what_is_not_elsewhere)
{
    EXPECT_EQ(resolved("7.2"), Names{"7.2.13+deb14-cloud-amd64"});
    EXPECT_EQ(resolved("7.4-rc2"), Names{"7.4-rc2-cloud-amd64"});
    archive_->index_loads = 0;
    EXPECT_EQ(resolved("7.3"), Names{"7.3.4+deb13-cloud-amd64"});
    EXPECT_EQ(archive_->index_loads, 1);
    EXPECT_EQ(resolved("latest", {.all_suites = true}), Names{"7.3.4+deb13-cloud-amd64"})
        << "a candidate is never latest";
}

TEST_F(Resolve, the_flavour_can_be_chosen)
{
    EXPECT_EQ(resolved("6.18", {.flavour = "amd64"}), Names{"6.18.5+deb13-amd64"});
}

TEST_F(Resolve, the_short_name_names_the_same_kernel_again)
{
    auto kernels = store();
    for (const auto* text : {"7.3", "6.12.94+deb12", "6.12.94", "7.4-rc2"}) {
        const auto spec = kernels.resolve(text).value().at(0);
        EXPECT_EQ(kernels.resolve(spec.typed).value().at(0).label, spec.label) << text;
    }
    EXPECT_EQ(kernels.resolve("7.3").value().at(0).typed, "7.3.4");
    EXPECT_EQ(kernels.resolve("6.12.94+deb12").value().at(0).typed, "6.12.94+deb12-cloud-amd64");
}

TEST_F(Resolve, what_names_nothing_is_a_usage_error_that_repeats_it)
{
    for (const auto* text : {"9.9", "7.3.40", "7", "seven", "7.3.x", "-1", "7.3 9.9", "/no/such/file",
                             "none.deb", "no/image:no/modules", "latest7", "../x:"}) {
        const auto error = error_of(text);
        EXPECT_EQ(error.kind, vm::Error::Kind::usage) << text;
        const std::string_view last = std::string_view(text).substr(std::string_view(text).find(' ') + 1);
        EXPECT_NE(error.message.find(last.substr(0, last.find(':'))), std::string::npos) << error.message;
    }
    EXPECT_EQ(error_of("").kind, vm::Error::Kind::usage);
    EXPECT_EQ(error_of(" , ").kind, vm::Error::Kind::usage);
    EXPECT_NE(error_of("9.9").message.find("7.3.4"), std::string::npos) << "tells what there is";
}

TEST_F(Resolve, files_are_told_from_versions)
{
    write(directory_ / "a.deb", "x");
    write(directory_ / "b.deb", "x");
    write(directory_ / "bzImage", "x");
    fs::create_directories(directory_ / "tree");
    const auto at = [&](const char* name) { return (directory_ / name).string(); };
    const auto kernels = store().resolve(at("a.deb") + "," + at("b.deb") + " 7.3 " + at("bzImage") + ":" +
                                         at("tree") + " " + at("tree"));
    ASSERT_TRUE(kernels) << kernels.error().message;
    ASSERT_EQ(kernels->size(), 4U);
    EXPECT_EQ(kernels->at(0).kind, vm::KernelSpec::Kind::deb_files);
    EXPECT_EQ(kernels->at(0).files.size(), 2U);
    EXPECT_EQ(kernels->at(1).kind, vm::KernelSpec::Kind::packaged);
    EXPECT_EQ(kernels->at(2).kind, vm::KernelSpec::Kind::image);
    EXPECT_EQ(kernels->at(3).kind, vm::KernelSpec::Kind::build_tree);

    const auto alone = error_of(at("bzImage"));
    EXPECT_EQ(alone.kind, vm::Error::Kind::usage);
    EXPECT_NE(alone.message.find("bzImage:DIRECTORY"), std::string::npos) << alone.message;
    EXPECT_EQ(error_of(at("a.deb") + "," + at("bzImage")).kind, vm::Error::Kind::usage);
}

TEST_F(Resolve, a_path_with_spaces_is_one_path)
{
    fs::create_directories(directory_ / "my tree, 7.3");
    EXPECT_EQ(resolved((directory_ / "my tree, 7.3").string()),
              Names{(directory_ / "my tree, 7.3").string()});
}

TEST_F(Resolve, without_index_and_cache_it_is_unavailable_not_wrong)
{
    archive_->offline = true;
    EXPECT_EQ(error_of("7.3").kind, vm::Error::Kind::unavailable);
}

TEST_F(Resolve, the_list_leaves_out_what_cannot_have_the_driver)
{
    const auto list = store().list().value();
    ASSERT_EQ(list.size(), 9U);
    EXPECT_EQ(list.front().release, "6.12.43+deb12-cloud-amd64");
    EXPECT_EQ(list.back().typed, "7.3.4");
    EXPECT_FALSE(list.back().cached);
}

} // namespace
} // namespace vm_test
