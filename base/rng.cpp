#include "base/rng.h"

#include <bit>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace trine {

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter[0], b = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

uint64_t stream_of(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

namespace {

std::array<uint32_t, 4> block(uint64_t seed, uint64_t stream, uint64_t index) {
  return philox({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), static_cast<uint32_t>(stream),
                 static_cast<uint32_t>(stream >> 32)},
                {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}

// Four normals from one block: two Box-Muller pairs. The uniform of the logarithm lies in (0, 1].
std::array<float, 4> normals(uint64_t seed, uint64_t stream, uint64_t index) {
  const auto bits = block(seed, stream, index);
  std::array<float, 4> out;
  for (size_t pair = 0; pair < 2; ++pair) {
    const double u = (bits[2 * pair] + 1.0) * 0x1p-32, angle = 2 * std::numbers::pi * bits[2 * pair + 1] * 0x1p-32;
    const double radius = std::sqrt(-2 * std::log(u));
    out[2 * pair] = static_cast<float>(radius * std::cos(angle));
    out[2 * pair + 1] = static_cast<float>(radius * std::sin(angle));
  }
  return out;
}

}  // namespace

void fill_normal(float* out, int64_t begin, int64_t count, uint64_t seed, uint64_t stream, float stddev) {
  for (int64_t i = begin; i < begin + count;) {
    const auto four = normals(seed, stream, static_cast<uint64_t>(i / 4));
    for (int64_t lane = i % 4; lane < 4 && i < begin + count; ++lane, ++i)
      *out++ = four[static_cast<size_t>(lane)] * stddev;
  }
}

uint64_t random_u64(uint64_t seed, uint64_t stream, uint64_t index) {
  const auto bits = block(seed, stream, index);
  return uint64_t{bits[1]} << 32 | bits[0];
}

int64_t permute(int64_t index, int64_t size, uint64_t seed, uint64_t stream) {
  TRINE_CHECK(0 <= index && index < size, "index {} of {}", index, size);
  const int half_bits = (std::bit_width(static_cast<uint64_t>(size - 1)) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;
  uint64_t x = static_cast<uint64_t>(index);
  do {
    uint64_t left = x >> half_bits, right = x & mask;
    for (uint64_t round = 0; round < 4; ++round) {
      const uint64_t mixed = random_u64(seed, stream + round, right) & mask;
      const uint64_t next = left ^ mixed;
      left = right;
      right = next;
    }
    x = left << half_bits | right;
  } while (x >= static_cast<uint64_t>(size));
  return static_cast<int64_t>(x);
}

}  // namespace trine
