#include "checkpoint/hash.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fmt/core.h>
#include <memory>
#include <vector>
#include <xxhash.h>

#include "base/error.h"
#include "checkpoint/file_io.h"

namespace trine {
namespace {

constexpr size_t kReadBytes = size_t{1} << 20;
constexpr size_t kCopyBytes = size_t{1} << 15;  // fit into the nearest cache

// The same loop for each instruction set; 64-bit products are single instructions only in AVX-512.
template <typename T>
[[gnu::always_inline]] inline uint64_t sum_of_mixed(const std::byte* data, int64_t begin, int64_t count) {
  constexpr uint64_t kStep = 0x9e3779b97f4a7c15, kFactor = 0xd6e8feb86659fd93;
  uint64_t sum = 0, key = static_cast<uint64_t>(begin) * kStep;
  for (int64_t i = 0; i < count; ++i, key += kStep) {
    T bits;
    std::memcpy(&bits, data + static_cast<size_t>(i) * sizeof(T), sizeof bits);
    uint64_t z = key ^ bits;
    z = (z ^ z >> 32) * kFactor;
    z = (z ^ z >> 32) * kFactor;
    sum += z ^ z >> 32;
  }
  return sum;
}

[[gnu::always_inline]] inline uint64_t dispatch_size(const std::byte* data, int64_t begin, int64_t count,
                                                     size_t element_bytes) {
  switch (element_bytes) {
    case 1:
      return sum_of_mixed<uint8_t>(data, begin, count);
    case 2:
      return sum_of_mixed<uint16_t>(data, begin, count);
    case 4:
      return sum_of_mixed<uint32_t>(data, begin, count);
    default:
      return sum_of_mixed<uint64_t>(data, begin, count);
  }
}

using ElementHash = uint64_t (*)(const std::byte*, int64_t, int64_t, size_t);
uint64_t portable_hash(const std::byte* data, int64_t begin, int64_t count, size_t element_bytes) {
  return dispatch_size(data, begin, count, element_bytes);
}

#ifdef __x86_64__
[[gnu::target("avx2")]] uint64_t avx2_hash(const std::byte* data, int64_t begin, int64_t count,
                                           size_t element_bytes) {
  return dispatch_size(data, begin, count, element_bytes);
}
[[gnu::target("avx512f,avx512dq,avx512vl")]] uint64_t avx512_hash(const std::byte* data, int64_t begin,
                                                                  int64_t count, size_t element_bytes) {
  return dispatch_size(data, begin, count, element_bytes);
}

ElementHash fastest_hash() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return avx512_hash;
  }
  return __builtin_cpu_supports("avx2") ? avx2_hash : portable_hash;
}
#else
ElementHash fastest_hash() { return portable_hash; }
#endif

}  // namespace

uint64_t xxh3(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

uint64_t xxh3(const File& file, int64_t size_bytes) {
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset(state.get());
  file.will_read_all();
  std::vector<std::byte> buffer(
      static_cast<size_t>(std::min<int64_t>(kReadBytes, std::max<int64_t>(1, size_bytes))));
  for (int64_t at = 0; at < size_bytes;) {
    const auto part = static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(buffer.size()), size_bytes - at));
    file.read(at, {buffer.data(), part});
    XXH3_64bits_update(state.get(), buffer.data(), part);
    at += static_cast<int64_t>(part);
  }
  return XXH3_64bits_digest(state.get());
}

std::string hex(uint64_t hash) { return fmt::format("{:016x}", hash); }

std::optional<uint64_t> parse_hex(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (text.size() != 16 || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return hex(value) == text ? std::optional(value) : std::nullopt;
}

uint64_t portable_element_hash(const std::byte* data, int64_t begin, int64_t count, size_t element_bytes) {
  return portable_hash(data, begin, count, element_bytes);
}

uint64_t element_hash(const std::byte* data, int64_t begin, int64_t count, size_t element_bytes) {
  TRINE_CHECK(element_bytes == 1 || element_bytes == 2 || element_bytes == 4 || element_bytes == 8);
  static const ElementHash hash = fastest_hash();
  return hash(data, begin, count, element_bytes);
}

uint64_t box_hash(const std::byte* data, const Box& box, const Shape& tensor, size_t element_bytes) {
  uint64_t sum = 0;
  for_each_run(box, Box::whole(tensor), [&](int64_t index, int64_t count) {
    sum += element_hash(data, index, count, element_bytes);
    data += static_cast<size_t>(count) * element_bytes;
  });
  return sum;
}

uint64_t copy_and_hash(const std::byte* data, const Box& box, const Shape& tensor, size_t element_bytes,
                       std::byte* to) {
  const auto block = static_cast<int64_t>(kCopyBytes / element_bytes);
  uint64_t sum = 0;
  for_each_run(box, Box::whole(tensor), [&](int64_t index, int64_t count) {
    for (int64_t done = 0; done < count; done += block) {
      const int64_t part = std::min(block, count - done);
      const size_t bytes = static_cast<size_t>(part) * element_bytes;
      sum += element_hash(data, index + done, part, element_bytes);
      std::memcpy(to, data, bytes);
      data += bytes, to += bytes;
    }
  });
  return sum;
}

}  // namespace trine
