// Suite "integrity": what is written to a served device is what is read, by MD5. The server is ublk-serve,
// seen only as a process and a block device.
#include "conformance/driver/case.hpp"
#include "conformance/driver/driver.hpp"
#include "conformance/server/digest.hpp"
#include "conformance/server/process.hpp"
#include "conformance/server/suite.hpp"

#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <sys/mount.h>

namespace conformance {

namespace {

namespace fs = std::filesystem;
using ublk::uapi::Feature;
using ublk::uapi::Features;
using ublk::uapi::sector_size;

constexpr const char* backing = "/tmp/backing.img";

struct Setup {
    const char* id;
    const char* type; // memory, file
    unsigned queues, depth;
    const char* path = "copy"; // --data-path
    std::vector<std::string> more = {};
    Features needs = {};
};

// A file device is initialised first: reading holes would prove nothing.
std::vector<std::string> serve_arguments(const Setup& setup, std::size_t mib)
{
    std::vector<std::string> arguments{"--type",      setup.type,
                                       "--queues",    std::to_string(setup.queues),
                                       "--depth",     std::to_string(setup.depth),
                                       "--data-path", setup.path};
    if (std::string_view(setup.type) == "file") {
        std::vector<std::byte> content(mib << 20);
        fill(content, 1);
        std::ofstream(backing, std::ios::binary)
            .write(reinterpret_cast<const char*>(content.data()),
                   static_cast<std::streamsize>(content.size()));
        arguments.insert(arguments.end(), {"--file", backing});
    } else {
        arguments.insert(arguments.end(), {"--size", fmt::format("{}M", mib)});
    }
    arguments.insert(arguments.end(), setup.more.begin(), setup.more.end());
    return arguments;
}

// ---- fio ----

struct Load {
    const char* pattern; // --rw of the writing pass
    const char* sizes;   // a block size, or a range
    bool direct;
};

std::uint64_t fio(const Serving& server, const Setup& setup, const Load& load, bool verifying)
{
    std::vector<std::string> command{
        "fio", "--name=verify", "--filename=" + server.disk(), "--size=12M", "--ioengine=libaio",
        fmt::format("--rw={}", load.pattern), fmt::format("--iodepth={}", setup.depth),
        std::string_view(load.sizes).contains('-') ? fmt::format("--bsrange={}", load.sizes)
                                                   : fmt::format("--bs={}", load.sizes),
        "--randrepeat=1", "--allrandrepeat=1", "--verify=md5", "--verify_fatal=1", "--verify_state_save=0",
        "--group_reporting", "--output-format=json", "--end_fsync=1",
        // The reading pass goes past the page cache: the device is what counts.
        verifying || load.direct ? "--direct=1" : "--direct=0",
        verifying ? "--verify_only=1" : "--do_verify=0"};
    const auto output = must_run(command);
    const auto begin = output.find('{');
    const auto report =
        nlohmann::json::parse(output.substr(begin == std::string::npos ? 0 : begin), nullptr, false);
    if (report.is_discarded())
        fail("fio's report", output.substr(0, 200));
    const auto& job = report.at("jobs").at(0);
    expect_eq(0, job.at("error").get<int>(), "fio's error");
    return job.at(verifying ? "read" : "write").at("total_ios").get<std::uint64_t>();
}

void fio_case(const Setup& setup, const Load& load)
{
    if (!has_program("fio"))
        skip("needs fio: install it where ublkcheck runs");
    Serving server(serve_arguments(setup, 16));
    expect_true(fio(server, setup, load, false) > 0, "fio wrote something");
    drop_caches();
    fio(server, setup, load, true);
    server.stop();
}

const Setup memory_1_1{"memory, 1 queue of 1", "memory", 1, 1};
const Setup memory_2_32{"memory, 2 queues of 32", "memory", 2, 32};
const Setup memory_1_128{"memory, 1 queue of 128", "memory", 1, 128};
const Setup file_1_1{"file, 1 queue of 1", "file", 1, 1};
const Setup file_2_32{"file, 2 queues of 32", "file", 2, 32};
const Setup file_1_128{"file, 1 queue of 128", "file", 1, 128};

const Setup memory_get_data{"memory, 2 queues of 32, get-data", "memory", 2, 32, "get-data"};
const Setup memory_user_copy{"memory, 2 queues of 32, user-copy", "memory", 2, 32, "user-copy"};
const Setup memory_auto{"memory, 2 queues of 32, auto", "memory", 2, 32, "auto"};
const Setup file_get_data{"file, 2 queues of 32, get-data", "file", 2, 32, "get-data"};
const Setup file_user_copy{"file, 1 queue of 128, user-copy", "file", 1, 128, "user-copy"};

constexpr Features zero_copy = Feature::support_zero_copy | Feature::buf_reg_off_daemon;
constexpr Features auto_buf = Feature::support_zero_copy | Feature::auto_buf_reg;
const std::vector<std::string> batch{"--batch"}, past_cache{"--direct"},
    past_cache_batch{"--direct", "--batch"};

const Setup file_zero_copy{"file, 2 queues of 32, zero-copy", "file", 2, 32, "zero-copy", {}, zero_copy};
const Setup file_zero_copy_direct{
    "file, 1 queue of 128, zero-copy, direct", "file", 1, 128, "zero-copy", past_cache, zero_copy};
const Setup file_auto_buf{"file, 2 queues of 32, auto-buf", "file", 2, 32, "auto-buf", {}, auto_buf};
const Setup file_auto_buf_direct{
    "file, 1 queue of 128, auto-buf, direct", "file", 1, 128, "auto-buf", past_cache, auto_buf};
const Setup file_direct{"file, 2 queues of 32, direct", "file", 2, 32, "copy", past_cache};
const Setup memory_batch{"memory, 2 queues of 32, batch", "memory", 2, 32, "copy", batch, Feature::batch_io};
const Setup memory_batch_deep{
    "memory, 1 queue of 1024, batch", "memory", 1, 1024, "copy", batch, Feature::batch_io};
const Setup memory_batch_user_copy{
    "memory, 1 queue of 128, batch, user-copy", "memory", 1, 128, "user-copy", batch, Feature::batch_io};
const Setup file_batch_zero_copy{"file, 1 queue of 32, batch, zero-copy",
                                 "file",
                                 1,
                                 32,
                                 "zero-copy",
                                 batch,
                                 zero_copy | Feature::batch_io};
const Setup file_batch_auto_buf{"file, 2 queues of 32, batch, auto-buf, direct",
                                "file",
                                2,
                                32,
                                "auto-buf",
                                past_cache_batch,
                                auto_buf | Feature::batch_io};
const Setup memory_threads{"memory, 1 queue of 32, 3 threads",
                           "memory",
                           1,
                           32,
                           "copy",
                           {"--threads-per-queue", "3"},
                           Feature::per_io_daemon};
constexpr Features protection = Feature::integrity | Feature::user_copy;
const std::vector<std::string> type1{"--integrity", "t10-type1"},
    type1_batch{"--integrity", "t10-type1", "--batch"},
    type3_pages{"--integrity", "t10-type3", "--block-size", "4096"};
const Setup memory_protected{
    "memory, 2 queues of 32, protected", "memory", 2, 32, "user-copy", type1, protection};
const Setup memory_protected_batch{"memory, 1 queue of 128, protected, batch",
                                   "memory",
                                   1,
                                   128,
                                   "user-copy",
                                   type1_batch,
                                   protection | Feature::batch_io};
const Setup memory_protected_pages{"memory, 2 queues of 32, protected by type 3 in pages",
                                   "memory",
                                   2,
                                   32,
                                   "user-copy",
                                   type3_pages,
                                   protection};
const Setup file_auto{"file, 1 queue of 32, auto, direct", "file", 1, 32, "auto", past_cache};

constexpr Load random_4k{"randwrite", "4k", true};
constexpr Load sequential_4k{"write", "4k", true};
constexpr Load random_mixed{"randwrite", "4k-128k", true};
constexpr Load sequential_mixed{"write", "4k-256k", true};
constexpr Load random_4k_buffered{"randwrite", "4k", false};
constexpr Load sequential_mixed_buffered{"write", "4k-256k", false};

// ---- whole device ----

// Writes pieces of odd sizes at odd places to the device and to a plain copy in memory, in the same order.
void scribble(int fd, std::vector<std::byte>& copy, unsigned pieces, std::uint64_t seed)
{
    std::mt19937_64 random(seed);
    const std::uint64_t sectors = copy.size() / sector_size;
    const std::unique_ptr<void, decltype(&std::free)> buffer(std::aligned_alloc(4096, 256 * 1024),
                                                             &std::free);
    for (unsigned i = 0; i < pieces; ++i) {
        const std::uint64_t count = 1 + random() % 512;
        const std::uint64_t start = random() % (sectors - count + 1);
        const std::span<std::byte> piece(static_cast<std::byte*>(buffer.get()), count * sector_size);
        fill(piece, random());
        expect_eq(static_cast<long>(piece.size()),
                  sys(::pwrite(fd, piece.data(), piece.size(), static_cast<off_t>(start * sector_size))),
                  "bytes written");
        std::memcpy(copy.data() + start * sector_size, piece.data(), piece.size());
    }
}

void image_case(const Setup& setup, bool direct)
{
    constexpr std::size_t mib = 16;
    Serving server(serve_arguments(setup, mib));
    std::vector<std::byte> copy(mib << 20);
    fill(copy, 2);
    {
        const auto fd = ublk::wire::open_node(server.disk(), O_RDWR | (direct ? O_DIRECT : 0));
        expect_true(fd.has_value(), "the device opens");
        const std::unique_ptr<void, decltype(&std::free)> all(std::aligned_alloc(4096, copy.size()),
                                                              &std::free);
        std::memcpy(all.get(), copy.data(), copy.size());
        expect_eq(static_cast<long>(copy.size()), sys(::pwrite(fd->get(), all.get(), copy.size(), 0)),
                  "bytes of the first image");
        scribble(fd->get(), copy, 200, 3);
        expect_ok(sys(::fsync(fd->get())), "fsync");
    }
    drop_caches();
    const auto wanted = md5_of(std::span<const std::byte>(copy));
    expect_eq(wanted, md5_of(server.disk(), true), "MD5 of the device, read directly");
    expect_eq(wanted, md5_of(server.disk(), false), "MD5 of the device, read through the page cache");
    server.stop();
    if (std::string_view(setup.type) == "file")
        expect_eq(wanted, md5_of(backing, false), "MD5 of the backing file after the server ended");
}

// ---- ext4 ----

using Contents = std::map<std::string, std::string>; // path below the mount point -> MD5

Contents fill_tree(const fs::path& root)
{
    Contents contents;
    std::mt19937_64 random(4);
    for (int i = 0; i < 60; ++i) {
        const auto name = fmt::format("d{}/e{}/file{}", i % 5, i % 3, i);
        fs::create_directories((root / name).parent_path());
        std::vector<std::byte> data(random() % 120'000);
        fill(data, random());
        std::ofstream(root / name, std::ios::binary)
            .write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
        contents[name] = md5_of(std::span<const std::byte>(data));
    }
    return contents;
}

void expect_tree(const fs::path& root, const Contents& contents)
{
    for (const auto& [name, md5] : contents)
        expect_eq(md5, md5_of((root / name).string(), false), "MD5 of " + name);
}

void ext4_case(const Setup& setup)
{
    if (!has_program("mkfs.ext4"))
        skip("needs mkfs.ext4: install e2fsprogs where ublkcheck runs");
    const char* where = "/mnt";
    Serving server(serve_arguments(setup, 48));
    must_run({"mkfs.ext4", "-q", "-F", server.disk()});
    if (::mount(server.disk().c_str(), where, "ext4", 0, nullptr) != 0 && errno == ENODEV)
        skip("needs the ext4 module, which this kernel lacks");
    const auto contents = fill_tree(where);
    expect_ok(sys(::umount(where)), "umount");
    drop_caches();
    expect_ok(sys(::mount(server.disk().c_str(), where, "ext4", 0, nullptr)), "mounting again");
    expect_tree(where, contents);
    expect_ok(sys(::umount(where)), "umount");
    if (has_program("e2fsck"))
        must_run({"e2fsck", "-f", "-n", server.disk()});
    server.stop();
}

// ---- registration ----

void add_fio(const char* id, const Setup& setup, const Load& load)
{
    static std::vector<std::unique_ptr<CaseRegistration>> keep;
    keep.push_back(std::make_unique<CaseRegistration>(
        id, contract,
        fmt::format("fio reads back by MD5 what it wrote: {}, {} {}, {}", setup.id, load.pattern, load.sizes,
                    load.direct ? "direct" : "buffered"),
        [&setup, &load] { fio_case(setup, load); },
        std::initializer_list<CaseOption>{integrity_suite, timeout(120s), needs(setup.needs)}));
}

void add_image(const char* id, const Setup& setup, bool directly)
{
    static std::vector<std::unique_ptr<CaseRegistration>> keep;
    keep.push_back(std::make_unique<CaseRegistration>(
        id, contract,
        fmt::format("a device and its file hold the image that was written {}: {}",
                    directly ? "directly" : "through the page cache", setup.id),
        [&setup, directly] { image_case(setup, directly); },
        std::initializer_list<CaseOption>{integrity_suite, timeout(120s), needs(setup.needs)}));
}

const bool fio_cases = [] {
    add_fio("INTEGRITY-FIO-001", memory_1_1, random_4k);
    add_fio("INTEGRITY-FIO-002", memory_2_32, random_4k);
    add_fio("INTEGRITY-FIO-003", memory_1_128, random_mixed);
    add_fio("INTEGRITY-FIO-004", memory_2_32, sequential_4k);
    add_fio("INTEGRITY-FIO-005", memory_2_32, sequential_mixed_buffered);
    add_fio("INTEGRITY-FIO-006", memory_1_128, random_4k_buffered);
    add_fio("INTEGRITY-FIO-007", file_1_1, sequential_mixed);
    add_fio("INTEGRITY-FIO-008", file_2_32, random_4k);
    add_fio("INTEGRITY-FIO-009", file_2_32, random_mixed);
    add_fio("INTEGRITY-FIO-010", file_1_128, sequential_4k);
    add_fio("INTEGRITY-FIO-011", file_1_128, sequential_mixed_buffered);
    add_fio("INTEGRITY-FIO-012", file_2_32, random_4k_buffered);
    add_fio("INTEGRITY-FIO-013", memory_get_data, random_mixed);
    add_fio("INTEGRITY-FIO-014", memory_user_copy, random_mixed);
    add_fio("INTEGRITY-FIO-015", file_user_copy, sequential_mixed_buffered);
    add_fio("INTEGRITY-FIO-016", file_direct, random_mixed);
    add_fio("INTEGRITY-FIO-017", file_zero_copy, random_mixed);
    add_fio("INTEGRITY-FIO-018", file_auto_buf, random_4k);
    add_fio("INTEGRITY-FIO-019", file_auto_buf_direct, random_mixed);
    add_fio("INTEGRITY-FIO-020", memory_batch, random_mixed);
    add_fio("INTEGRITY-FIO-021", memory_batch_deep, random_4k);
    add_fio("INTEGRITY-FIO-022", memory_batch_user_copy, random_mixed);
    add_fio("INTEGRITY-FIO-023", file_batch_auto_buf, random_mixed);
    add_fio("INTEGRITY-FIO-024", memory_threads, random_4k);
    add_fio("INTEGRITY-FIO-025", file_auto, sequential_mixed);
    add_fio("INTEGRITY-FIO-026", memory_protected, random_mixed);
    add_fio("INTEGRITY-FIO-027", memory_protected, sequential_mixed_buffered);
    add_fio("INTEGRITY-FIO-028", memory_protected_batch, sequential_4k);
    add_fio("INTEGRITY-FIO-029", memory_protected_pages, random_mixed);
    add_fio("INTEGRITY-FIO-030", file_get_data, random_mixed);
    add_fio("INTEGRITY-FIO-031", memory_auto, sequential_mixed_buffered);
    add_image("INTEGRITY-IMAGE-007", file_zero_copy, false);
    add_image("INTEGRITY-IMAGE-008", file_zero_copy_direct, true);
    add_image("INTEGRITY-IMAGE-009", file_auto_buf, true);
    add_image("INTEGRITY-IMAGE-010", file_auto_buf_direct, false);
    add_image("INTEGRITY-IMAGE-011", memory_batch, true);
    add_image("INTEGRITY-IMAGE-012", file_batch_zero_copy, true);
    add_image("INTEGRITY-IMAGE-013", memory_threads, false);
    add_image("INTEGRITY-IMAGE-014", memory_protected, true);
    add_image("INTEGRITY-IMAGE-015", memory_protected, false);
    add_image("INTEGRITY-IMAGE-016", file_get_data, false);
    return true;
}();

} // namespace

CASE("INTEGRITY-IMAGE-001", contract,
     "a memory device holds the image that was written directly, 1 queue of 1", integrity_suite,
     timeout(120s))
{
    image_case(memory_1_1, true);
}

CASE("INTEGRITY-IMAGE-002", contract,
     "a memory device holds the image that was written through the page cache, 2 queues of 32",
     integrity_suite, timeout(120s))
{
    image_case(memory_2_32, false);
}

CASE("INTEGRITY-IMAGE-003", contract,
     "a file device and its file hold the image that was written directly, 2 queues of 32", integrity_suite,
     timeout(120s))
{
    image_case(file_2_32, true);
}

CASE("INTEGRITY-IMAGE-004", contract,
     "a file device and its file hold the image that was written through the page cache, 1 queue of 128",
     integrity_suite, timeout(120s))
{
    image_case(file_1_128, false);
}

CASE("INTEGRITY-IMAGE-005", contract,
     "a memory device holds the image that was written directly, by NEED_GET_DATA", integrity_suite,
     timeout(120s))
{
    image_case(memory_get_data, true);
}

CASE("INTEGRITY-IMAGE-006", contract,
     "a file device and its file hold the image that was written directly, by USER_COPY", integrity_suite,
     timeout(120s))
{
    image_case(file_user_copy, true);
}

CASE("INTEGRITY-EXT4-001", contract, "ext4 on a memory device keeps every file over a remount",
     integrity_suite, timeout(120s))
{
    ext4_case(memory_2_32);
}

CASE("INTEGRITY-EXT4-002", contract, "ext4 on a file device keeps every file over a remount", integrity_suite,
     timeout(120s))
{
    ext4_case(file_2_32);
}

CASE("INTEGRITY-EXT4-003", contract,
     "ext4 on a memory device with protection information keeps every file over a remount", integrity_suite,
     timeout(120s), needs(protection))
{
    ext4_case(memory_protected);
}

// One flipped sector between writing and verifying: fio must see it, or the cases above prove nothing.
CASE("SELF-020", contract, "fio's verification fails when one sector is wrong", in_suite("selftest", true),
     timeout(120s))
{
    Serving server(serve_arguments(memory_2_32, 16));
    fio(server, memory_2_32, random_4k, false);
    {
        const auto fd = ublk::wire::open_node(server.disk(), O_RDWR | O_DIRECT);
        const std::unique_ptr<void, decltype(&std::free)> sector(std::aligned_alloc(4096, 4096), &std::free);
        std::memset(sector.get(), 0x5a, 4096);
        expect_eq(512L, sys(::pwrite(fd->get(), sector.get(), 512, 5 << 20)), "bytes of the flipped sector");
    }
    fio(server, memory_2_32, random_4k, true);
}

// And one flipped byte of an image: the MD5 must see it.
CASE("SELF-021", contract, "the MD5 of a device differs when one byte is wrong", in_suite("selftest", true),
     timeout(60s))
{
    std::vector<std::byte> image(1 << 20);
    fill(image, 9);
    const auto wanted = md5_of(std::span<const std::byte>(image));
    image[777'777] ^= std::byte{1};
    expect_eq(wanted, md5_of(std::span<const std::byte>(image)), "MD5");
}

} // namespace conformance
