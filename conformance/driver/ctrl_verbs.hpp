// Verbs of the control-plane cases: memory with a protection of the case's choice, ids that are free, and
// the list of commands that name a device.
#pragma once

#include "conformance/driver/driver.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace conformance {

// Whole pages, zeroed, readable and writable until told otherwise. Owned; unmapped at the end.
class Pages {
  public:
    explicit Pages(std::size_t bytes = 1, int protection = -1); // -1: read and write
    ~Pages();
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;

    void protect(int protection); // PROT_*
    std::uint64_t addr() const { return reinterpret_cast<std::uintptr_t>(base_); }
    std::span<std::byte> bytes() const { return {base_, size_}; }
    template <typename T>
    T& at(std::size_t offset = 0) const
    {
        return *reinterpret_cast<T*>(base_ + offset);
    }

  private:
    std::byte* base_ = nullptr;
    std::size_t size_ = 0;
};

inline std::uint64_t address(const void* p)
{
    return reinterpret_cast<std::uintptr_t>(p);
}

// Every command that names a device: all but ADD_DEV and GET_FEATURES.
std::span<const CtrlNr> device_commands();

// The lowest device id that has no /dev/ublkcN.
std::uint32_t lowest_free_id();
bool has_char_node(std::uint32_t dev_id);

// Whether the kernel was built with CONFIG_BLK_DEV_ZONED, by its symbols. Skips the case where they are
// hidden.
bool kernel_has_zoned();

// The CPUs of one queue by GET_QUEUE_AFFINITY, lowest number first; the command must work.
std::vector<unsigned> queue_cpus(const Device& device, unsigned queue, Where where = Where::current());

} // namespace conformance
