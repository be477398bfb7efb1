// Verbs of the cases about metadata: devices of INTEGRITY, whose blocks have protection information or bytes
// of the application's beside them, and servers that keep both.
#pragma once

#include "conformance/driver/data_verbs.hpp"

namespace conformance {

inline constexpr auto integrity = Feature::integrity | Feature::user_copy;

// basic_params() with this block.
Params integrity_params(const ublk::uapi::ParamIntegrity& block);
// Eight bytes of T10 type 1 beside each 512: what every check takes.
inline constexpr ublk::uapi::ParamIntegrity sound_integrity{
    .flags = ublk::uapi::pi_cap_integrity | ublk::uapi::pi_cap_reftag,
    .interval_exp = 9,
    .metadata_size = 8,
    .csum_type = static_cast<std::uint8_t>(ublk::uapi::PiChecksum::crc16_t10dif),
    .tag_size = 2};
// As many bytes without meaning to the kernel.
constexpr ublk::uapi::ParamIntegrity opaque_integrity(std::uint8_t bytes)
{
    return {.flags = ublk::uapi::pi_cap_integrity, .interval_exp = 9, .metadata_size = bytes};
}

// A device and a server that keeps data and metadata in memory; live.
class MetadataLive {
  public:
    explicit MetadataLive(Driver& driver, const ublk::uapi::ParamIntegrity& block = sound_integrity,
                          Where where = Where::current());

    Device device;
    Server server;
    Bytes metadata; // of the whole disk

    std::size_t metadata_bytes(std::size_t data_bytes) const
    {
        return (data_bytes >> block_.interval_exp) * block_.metadata_size;
    }
    // What is kept beside these bytes of the disk.
    std::span<std::byte> beside(std::uint64_t sector, std::size_t bytes);
    // Sets a switch in sysfs integrity/, and sees that it is set.
    void set_switch(const char* name, bool on, Where where = Where::current()) const;
    long served(App app, Where where = Where::current()) { return server.serve_until(app, where); }

  private:
    std::optional<std::int32_t> serve(const Server::Request& request);
    ublk::uapi::ParamIntegrity block_;
};

bool has_metadata(const Server::Request& request);
// By file position, as copy_out() and copy_in() do with data.
long metadata_out(const Server& server, const Server::Request& request, std::span<std::byte> to,
                  std::uint64_t offset = 0);
long metadata_in(const Server& server, const Server::Request& request, std::span<const std::byte> from,
                 std::uint64_t offset = 0);

// T10 type 1 tuples of 512-byte blocks: CRC16, application tag, the sector's number.
Bytes t10_tuples(std::uint64_t sector, std::span<const std::byte> data, std::uint16_t application = 0);

// IORING_OP_READ or _WRITE on `fd` with metadata of one's own, checked by the device as `checks` say: 1
// guard, 2 reference tag, 4 application tag. Its result, or -errno of the ring.
long transfer_with_metadata(int fd, int opcode, std::uint64_t sector, std::span<std::byte> data,
                            std::span<std::byte> beside, std::uint16_t checks = 0);

// A direct write or read with metadata of the application's own, by io_uring; its result. What a read brings
// is in `data` and `beside` afterwards, which must live as long as the App.
App with_metadata(const Device& device, bool write, std::uint64_t sector, std::span<std::byte> data,
                  std::span<std::byte> beside);

} // namespace conformance
