// MD5 of files and devices, and reproducible content to compute it over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace conformance {

// Hexadecimal. Reads with O_DIRECT where `direct`, so that the device and not the page cache is what counts.
// A file that cannot be read to `bytes` (0: to its end) fails the case.
std::string md5_of(const std::string& path, bool direct, std::uint64_t bytes = 0);
std::string md5_of(std::span<const std::byte> data);

// Content that differs in every 8 bytes, from a seed.
void fill(std::span<std::byte> data, std::uint64_t seed);

} // namespace conformance
