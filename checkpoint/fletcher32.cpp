#include "checkpoint/fletcher32.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace trine {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr size_t kLanes = 16;
using Words = uint16_t __attribute__((vector_size(kLanes * 2)));
using Sums = uint32_t __attribute__((vector_size(kLanes * 4)));
// Vectors per block: the second sums of a lane reach 65535 * n (n + 1) / 2 < 2^32.
constexpr size_t kBlock = 360;
constexpr uint64_t kModulus = 65535;

}  // namespace

// The words are summed as little endian: swapping bytes multiplies by 256 mod 65535, which is done once at the end.
uint32_t fletcher32(std::span<const std::byte> data) {
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

}  // namespace trine
