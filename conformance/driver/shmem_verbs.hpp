// Verbs for cases about SHMEM_ZC: memory that application and server share, and its registration.
#pragma once

#include "conformance/driver/live.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace conformance {

// Pages of a memfd, zero, mapped as often as wanted, so that two mappings are the views of two processes.
class SharedPages {
  public:
    explicit SharedPages(std::size_t pages);
    ~SharedPages();
    SharedPages(const SharedPages&) = delete;
    SharedPages& operator=(const SharedPages&) = delete;

    std::size_t bytes() const { return bytes_; }
    // Another mapping of the whole, which lasts until unmap_all(). PROT_*; failing that fails the case.
    std::byte* map(int protection = -1, Where where = Where::current()); // -1: read and write
    void map_at(std::byte* at, Where where = Where::current()); // the first page, in place of what is there
    void unmap_all();                                           // what map() made
    // F_SEAL_WRITE from here on; -EBUSY while a page is mapped writable, or pinned.
    long seal_against_writing();

  private:
    std::size_t bytes_;
    Fd memfd_;
    std::vector<std::byte*> mappings_;
};

// Address space without any access, of which cases map parts anew.
class Reserved {
  public:
    explicit Reserved(std::size_t bytes);
    ~Reserved();
    Reserved(const Reserved&) = delete;
    Reserved& operator=(const Reserved&) = delete;
    std::byte* begin() const { return base_; }

  private:
    std::size_t bytes_;
    std::byte* base_;
};

// REG_BUF and UNREG_BUF: the index, or 0; or -errno.
long register_memory(const Device& device, const void* memory, std::size_t bytes, std::uint32_t flags = 0,
                     Where where = Where::current());
long unregister(const Device& device, std::uint64_t index, Where where = Where::current());

// Direct I/O of an application, to and from the memory that it is given.
App write_from(const Device& device, const void* memory, std::size_t bytes, std::uint64_t sector = 0);
App read_into(const Device& device, void* memory, std::size_t bytes, std::uint64_t sector = 0);

// The request names a place in registered memory instead of the tag's buffer, or it does not.
void expect_match(const Server::Request& request, unsigned index, std::uint64_t offset, std::string_view what,
                  Where where = Where::current());
void expect_no_match(Server& server, const Server::Request& request, std::string_view what,
                     Where where = Where::current());

void fill(std::byte* at, std::size_t bytes, int value);
bool filled_with(const std::byte* at, std::size_t bytes, int value);

} // namespace conformance
