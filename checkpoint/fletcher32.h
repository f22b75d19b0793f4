// The Fletcher-32 checksum as HDF5's filter computes it (H5_checksum_fletcher32): 16-bit words, big endian, sums
// mod 65535 where a sum of words that are not all zero is never 0. Several times as fast as the library's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace trine {

uint32_t fletcher32(std::span<const std::byte> data);
uint32_t portable_fletcher32(std::span<const std::byte> data);  // what machines without AVX2 run

}  // namespace trine
