// Counter-based random numbers (Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC
// 2011). A number is a pure function of (seed, stream, index):
// no state, so it does not depend on rank, thread or order.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace trine {

// One block of four 32-bit numbers for a 128-bit counter and a 64-bit key.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// FNV-1a: a stable 64-bit hash of a name (a logical tensor's, say), used as the stream.
uint64_t stream_of(std::string_view name);

// Writes elements [begin, begin + count) of the standard normal sequence of (seed, stream), times `stddev`.
// Element i has the same value whichever range it is asked in. Box-Muller over f64, rounded to f32 once.
void fill_normal(float* out, int64_t begin, int64_t count, uint64_t seed, uint64_t stream, float stddev);

// A uniform 64-bit number.
uint64_t random_u64(uint64_t seed, uint64_t stream, uint64_t index);

// A pseudo-random permutation of [0, size) keyed by (seed, stream), evaluated at one index in constant memory:
// a four-round Feistel network over the next power of four, walked until it falls inside.
// REQUIRES: 0 <= index < size.
int64_t permute(int64_t index, int64_t size, uint64_t seed, uint64_t stream);

}  // namespace trine
