#include <cstdlib>

#include <gtest/gtest.h>

#include "vm/apt_sources.hpp"
#include "vm/tests/kernel_fixture.hpp"

namespace {

using vm_test::TemporaryDirectory;

// mirror.example is nobody's.
constexpr const char* deb822 = R"(# comment
Types: deb deb-src
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main
# within a stanza
Signed-By:
 /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
)";

TEST(AptSources, deb822_stanzas_are_read)
{
    const auto sources = vm::parse_deb822_sources(deb822);
    ASSERT_EQ(sources.size(), 2U);
    EXPECT_EQ(sources[0].uri, "http://mirror.example/debian");
    EXPECT_EQ(sources[0].suites, (std::vector<std::string>{"bookworm", "bookworm-updates"}));
    EXPECT_EQ(sources[0].signed_by, "/usr/share/keyrings/debian-archive-keyring.gpg");
    EXPECT_EQ(vm::pick_mirror(sources), "http://mirror.example/debian");
}

TEST(AptSources, deb822_disabled_source_only_and_embedded_keys)
{
    EXPECT_TRUE(vm::parse_deb822_sources(
                    "Types: deb\nEnabled: no\nURIs: http://a/debian\nSuites: sid\nComponents: main\n")
                    .empty());
    EXPECT_TRUE(
        vm::parse_deb822_sources("Types: deb-src\nURIs: http://a/debian\nSuites: sid\nComponents: main\n")
            .empty());
    const auto embedded =
        vm::parse_deb822_sources("types: deb\nuris: http://a/debian http://b/debian\nsuites: sid\n"
                                 "components: main\nsigned-by:\n -----BEGIN PGP\n .\n abc\n");
    ASSERT_EQ(embedded.size(), 2U) << "one for each URI";
    EXPECT_EQ(embedded[1].uri, "http://b/debian");
    EXPECT_TRUE(embedded[0].signed_by.empty());
}

TEST(AptSources, one_line_entries_are_read)
{
    const auto sources =
        vm::parse_one_line_sources("# deb http://off.example/debian trixie main\n"
                                   "deb-src http://mirror.example/debian trixie main\n"
                                   "deb [ arch=amd64,i386 signed-by=/keys/debian.gpg ] "
                                   "http://mirror.example/debian/ trixie main contrib # why\n"
                                   "deb http://short.example\n"
                                   "deb\thttp://plain.example/debian\tsid\tmain\n");
    ASSERT_EQ(sources.size(), 2U);
    EXPECT_EQ(sources[0].uri, "http://mirror.example/debian");
    EXPECT_EQ(sources[0].signed_by, "/keys/debian.gpg");
    EXPECT_EQ(sources[0].components, (std::vector<std::string>{"main", "contrib"}));
    EXPECT_EQ(sources[1].uri, "http://plain.example/debian");
}

TEST(AptSources, the_mirror_is_debian_itself_and_no_other_vendors_archive)
{
    const auto pick = [](std::string_view text) { return vm::pick_mirror(vm::parse_one_line_sources(text)); };
    EXPECT_EQ(
        pick("deb http://vendor.example/apt bookworm main\ndeb http://m.example/debian bookworm main\n"),
        "http://m.example/debian");
    EXPECT_EQ(pick("deb http://m.example/debian-security bookworm-security main\n"), "");
    EXPECT_EQ(pick("deb http://m.example/ubuntu noble main\n"), "");
    EXPECT_EQ(pick("deb http://m.example/debian bookworm contrib\n"), "");
    EXPECT_EQ(pick("deb cdrom:[Debian]/ bookworm main\n"), "");
    EXPECT_EQ(pick(""), "");
}

class FindMirror : public testing::Test {
  protected:
    void SetUp() override
    {
        ::unsetenv("UBLKCHECK_APT_MIRROR");
        ::unsetenv("UBLKCHECK_APT_KEYRING");
        vm_test::write(etc_ / "key.gpg", "key");
    }
    void TearDown() override { SetUp(); }
    TemporaryDirectory etc_;
};

TEST_F(FindMirror, both_formats_of_the_machines_configuration_count)
{
    ::setenv("UBLKCHECK_APT_KEYRING", (etc_ / "key.gpg").c_str(), 1);
    vm_test::write(etc_ / "sources.list", "deb http://list.example/debian bookworm main\n");
    EXPECT_EQ(vm::find_debian_mirror(etc_.path()).value().uri, "http://list.example/debian");
    vm_test::write(etc_ / "sources.list.d/debian.sources", deb822);
    EXPECT_EQ(vm::find_debian_mirror(etc_.path()).value().uri, "http://mirror.example/debian")
        << "signed by the archive's keyring, so it is the surer one";
    vm_test::write(etc_ / "sources.list.d/debian.sources", "");
    vm_test::write(etc_ / "sources.list.d/ignored.sources.save", deb822);
    EXPECT_EQ(vm::find_debian_mirror(etc_.path()).value().uri, "http://list.example/debian");
}

TEST_F(FindMirror, without_a_debian_mirror_the_mend_is_named)
{
    vm_test::write(etc_ / "sources.list", "deb http://archive.example/ubuntu noble main universe\n");
    const auto none = vm::find_debian_mirror(etc_.path());
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().kind, vm::Error::Kind::unavailable);
    EXPECT_NE(none.error().message.find("UBLKCHECK_APT_MIRROR"), std::string::npos) << none.error().message;

    ::setenv("UBLKCHECK_APT_MIRROR", "http://given.example/debian/", 1);
    ::setenv("UBLKCHECK_APT_KEYRING", (etc_ / "key.gpg").c_str(), 1);
    EXPECT_EQ(vm::find_debian_mirror(etc_.path()).value().uri, "http://given.example/debian");
    ::setenv("UBLKCHECK_APT_KEYRING", (etc_ / "none.gpg").c_str(), 1);
    EXPECT_NE(vm::find_debian_mirror(etc_.path()).error().message.find("none.gpg"), std::string::npos);
}

TEST_F(FindMirror, a_mirror_that_would_change_the_sources_list_is_refused)
{
    ::setenv("UBLKCHECK_APT_MIRROR",
             "http://a.example/debian sid main\ndeb [trusted=yes] http://b.example/debian", 1);
    ::setenv("UBLKCHECK_APT_KEYRING", (etc_ / "key.gpg").c_str(), 1);
    const auto mirror = vm::find_debian_mirror(etc_.path());
    ASSERT_FALSE(mirror);
    EXPECT_EQ(mirror.error().kind, vm::Error::Kind::usage);
}

} // namespace
