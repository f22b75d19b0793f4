#include "checkpoint/fletcher32.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace trine {
namespace {

static_assert(std::endian::native == std::endian::little);

// Vectors of as many 32-bit sums as the registers take in well.
struct Lanes8 {
  static constexpr size_t kCount = 8;
  using Words [[gnu::vector_size(16)]] = uint16_t;
  using Sums [[gnu::vector_size(32)]] = uint32_t;
};
struct Lanes16 {
  static constexpr size_t kCount = 16;
  using Words [[gnu::vector_size(32)]] = uint16_t;
  using Sums [[gnu::vector_size(64)]] = uint32_t;
};
// Vectors per block: the second sums of a lane reach 65535 * n (n + 1) / 2 < 2^32.
constexpr size_t kBlock = 360;
constexpr uint64_t kModulus = 65535;

// The words are summed as little endian: swapping bytes multiplies by 256 mod 65535, which is done once at the end.
template <typename Lanes>
[[gnu::always_inline]] inline uint32_t sum_of(std::span<const std::byte> data) {
  using Words = typename Lanes::Words;
  using Sums = typename Lanes::Sums;
  constexpr size_t kLanes = Lanes::kCount;
  const std::byte* from = data.data();
  size_t words = data.size() / 2;
  uint64_t sum1 = 0, sum2 = 0;
  bool zero = true;
  while (words >= kLanes) {
    const size_t vectors = std::min(words / kLanes, kBlock);
    Sums a = {}, b = {};  // of each lane: the sum, and the sum of its prefixes
    for (size_t i = 0; i < vectors; ++i, from += sizeof(Words)) {
      Words w;
      std::memcpy(&w, from, sizeof w);
      a += __builtin_convertvector(w, Sums);
      b += a;
    }
    // Word l of vector i counts (vectors - 1 - i) * kLanes + (kLanes - l) times in the second sum.
    uint64_t block1 = 0, block2 = 0;
    for (size_t l = 0; l < kLanes; ++l) {
      block1 += a[l];
      block2 += kLanes * (uint64_t{b[l]} - a[l]) + (kLanes - l) * a[l];
    }
    zero = zero && block1 == 0;
    sum2 = (sum2 + vectors * kLanes * sum1 + block2) % kModulus;
    sum1 = (sum1 + block1) % kModulus;
    words -= vectors * kLanes;
  }
  for (size_t bytes = words * 2 + data.size() % 2; bytes > 0; bytes -= std::min<size_t>(2, bytes), from += 2) {
    uint16_t w = 0;  // an odd last byte is followed by zero
    std::memcpy(&w, from, std::min<size_t>(2, bytes));
    zero = zero && w == 0;
    sum1 = (sum1 + w) % kModulus;
    sum2 = (sum2 + sum1) % kModulus;
  }
  if (zero) return 0;
  const auto nonzero = [](uint64_t sum) { return static_cast<uint32_t>(sum == 0 ? kModulus : sum); };
  return nonzero(sum2 * 256 % kModulus) << 16 | nonzero(sum1 * 256 % kModulus);
}

#ifdef __x86_64__
[[gnu::target("avx2")]] uint32_t avx2_sum(std::span<const std::byte> data) { return sum_of<Lanes8>(data); }
#endif

}  // namespace

uint32_t portable_fletcher32(std::span<const std::byte> data) { return sum_of<Lanes16>(data); }

uint32_t fletcher32(std::span<const std::byte> data) {
#ifdef __x86_64__
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  if (has_avx2) return avx2_sum(data);
#endif
  return portable_fletcher32(data);
}

}  // namespace trine
