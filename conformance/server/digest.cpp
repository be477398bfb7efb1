#include "conformance/server/digest.hpp"

#include "conformance/driver/driver.hpp"

#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <openssl/evp.h>
#include <random>

namespace conformance {

namespace {

class Md5 {
  public:
    Md5() : context_(::EVP_MD_CTX_new(), &::EVP_MD_CTX_free)
    {
        expect_true(context_ != nullptr && ::EVP_DigestInit_ex(context_.get(), ::EVP_md5(), nullptr) == 1,
                    "MD5 is available");
    }
    void add(const void* data, std::size_t bytes) { ::EVP_DigestUpdate(context_.get(), data, bytes); }
    std::string hex()
    {
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned length = 0;
        ::EVP_DigestFinal_ex(context_.get(), digest, &length);
        std::string text;
        for (unsigned i = 0; i < length; ++i)
            text += fmt::format("{:02x}", digest[i]);
        return text;
    }

  private:
    std::unique_ptr<EVP_MD_CTX, decltype(&::EVP_MD_CTX_free)> context_;
};

} // namespace

std::string md5_of(std::span<const std::byte> data)
{
    Md5 md5;
    md5.add(data.data(), data.size());
    return md5.hex();
}

std::string md5_of(const std::string& path, bool direct, std::uint64_t bytes)
{
    const auto fd = ublk::wire::open_node(path, O_RDONLY | (direct ? O_DIRECT : 0));
    if (!fd)
        fail(fmt::format("{} opens", path), errno_text(fd.error()));
    constexpr std::size_t piece = 256 * 1024;
    const std::unique_ptr<void, decltype(&std::free)> buffer(std::aligned_alloc(4096, piece), &std::free);
    Md5 md5;
    std::uint64_t done = 0;
    for (;;) {
        const auto want = bytes == 0 ? piece : std::min<std::uint64_t>(piece, bytes - done);
        const auto got = want == 0 ? 0 : ::read(fd->get(), buffer.get(), want);
        if (got < 0)
            fail(fmt::format("{} reads at {}", path, done), errno_text(errno));
        if (got == 0)
            break;
        md5.add(buffer.get(), static_cast<std::size_t>(got));
        done += static_cast<std::uint64_t>(got);
    }
    if (bytes != 0 && done != bytes)
        fail(fmt::format("{} has {} bytes", path, bytes), fmt::format("{}", done));
    return md5.hex();
}

void fill(std::span<std::byte> data, std::uint64_t seed)
{
    std::mt19937_64 random(seed);
    for (std::size_t i = 0; i < data.size(); i += sizeof(std::uint64_t)) {
        const std::uint64_t word = random();
        std::memcpy(data.data() + i, &word, std::min(sizeof(word), data.size() - i));
    }
}

} // namespace conformance
