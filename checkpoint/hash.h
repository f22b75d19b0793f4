// The two 64-bit hashes of a checkpoint (checkpoint/format.md): XXH3 for files, and one for tensors that any cut
// into pieces yields alike.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "checkpoint/box.h"

namespace trine {

class File;

uint64_t xxh3(std::string_view text);
// Reads the whole file from its beginning. DataError if it cannot be read or is not `size_bytes` long.
uint64_t xxh3(const File& file, int64_t size_bytes);

std::string hex(uint64_t hash);  // 16 digits, as xxhsum prints XXH3
std::optional<uint64_t> parse_hex(std::string_view text);

// What the elements of `data` from flat index `begin` on add to the hash of their tensor (mod 2^64).
// REQUIRES: elements of 1, 2, 4 or 8 bytes.
uint64_t element_hash(const std::byte* data, int64_t begin, int64_t count, size_t element_bytes);
// What machines without AVX2 run.
uint64_t portable_element_hash(const std::byte* data, int64_t begin, int64_t count, size_t element_bytes);
// The same for a box of the tensor, stored row-major in `data`.
uint64_t box_hash(const std::byte* data, const Box& box, const Shape& tensor, size_t element_bytes);
// The same, and copies the box to `to`: the memory is read once.
uint64_t copy_and_hash(const std::byte* data, const Box& box, const Shape& tensor, size_t element_bytes,
                       std::byte* to);

}  // namespace trine
