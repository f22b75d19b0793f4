// Index arithmetic of the kernels, as plain constexpr functions: device code calls them (nvcc's relaxed constexpr),
// and tests/kernels/cuda_index_test.cpp runs them on the CPU.
#pragma once

#include <bit>
#include <cstdint>

namespace trine::cuda {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// a / b and a % b of what fits 32 bits, as the numbers of tokens, and of items of a row, do (the host checks): a
// GPU divides 64 bits some four times slower.
struct Quotient {
  int64_t quotient, remainder;
};
constexpr Quotient divide(int64_t a, int64_t b) {
  const auto x = static_cast<uint32_t>(a), y = static_cast<uint32_t>(b);
  return {x / y, x % y};
}

// --- Packs: what a thread reads and writes at once
// -----------------------------------------------------------------

constexpr int kPackBytes = 16;
constexpr int pack_size(int item_bytes) { return kPackBytes / item_bytes; }

// Whether each row of a matrix divides into packs that are aligned to their size.
constexpr bool in_packs(uint64_t address, int64_t row_stride, int64_t columns, int64_t item_bytes) {
  return address % kPackBytes == 0 && row_stride * item_bytes % kPackBytes == 0 &&
         columns * item_bytes % kPackBytes == 0;
}

// --- Rows of a norm's weight gradient
// ------------------------------------------------------------------------------

// The rows whose contributions are summed together: a function of n alone. At most kNormBlocks such blocks.
constexpr int64_t kNormBlocks = 512;
constexpr int64_t norm_rows_per_block(int64_t n) { return larger(1, ceil_div(n, kNormBlocks)); }

// Where thread `thread` keeps its sum of column j + e, of the packs of `width` elements that it meets every
// threads * width columns (so that j is thread * width after some of these steps).
constexpr int64_t norm_sum_slot(int64_t j, int e, int64_t thread, int64_t threads, int64_t width) {
  return j - thread * width + e * threads + thread;
}

// --- Rotary embedding
// ----------------------------------------------------------------------------------------------

// Item i of a row of heads, an item being `width` elements of a head's first half: where it stands in the row, and
// in the head's half. Its partner is head_dim / 2 further.
struct RopeItem {
  int64_t column, angle;
};
constexpr int64_t rope_items(int64_t heads, int64_t head_dim, int64_t width) {
  return heads * ceil_div(head_dim / 2, width);
}
constexpr RopeItem rope_item(int64_t i, int64_t head_dim, int64_t width) {
  const auto [head, item] = divide(i, ceil_div(head_dim / 2, width));
  return {head * head_dim + item * width, item * width};
}

// --- Gradient norm
// -------------------------------------------------------------------------------------------------

constexpr int kNormBlock = 256;  // elements that are summed in f32
constexpr int kNumBins = 65;
constexpr int kMaxBinSets = 16;  // that clip_gradients adds up

struct BinTerm {
  int bin;
  int64_t value;
};
// What a block's f32 sum (not negative) adds to the exact integer sum: its mantissa, shifted by its exponent's
// remainder, to the bin of 4 exponents. The last bin counts sums that are not finite.
constexpr BinTerm bin_term(float sum) {
  const uint32_t bits = std::bit_cast<uint32_t>(sum), exponent = (bits >> 23) & 0xffu, fraction = bits & 0x7fffffu;
  if (exponent == 0xffu) return {kNumBins - 1, 1};
  // A subnormal has no implicit bit and the scale of exponent 1.
  const int64_t mantissa = exponent == 0 ? fraction << 1 : fraction | 0x800000u;
  return {static_cast<int>(exponent >> 2), mantissa << (exponent & 3u)};
}

// --- Attention
// -----------------------------------------------------------------------------------------------------

// Queries, and keys, per tile of the plain kernels: what shared memory of 99 KiB holds six tiles of.
constexpr int kMaxHeadDim = 256;
constexpr int attention_tile(int head_dim) { return head_dim <= 64 ? 32 : 16; }

// Score e of a tile of `tile` keys a row.
struct ScoreItem {
  int query, key;
};
constexpr ScoreItem score_item(int e, int tile) { return {e / tile, e % tile}; }
constexpr bool visible(int64_t query, int64_t key) { return key <= query; }

// Part of a problem that fits into `limit` bytes of scratch, where cuDNN's deterministic backward keeps all scores:
// some kv heads (with their query heads) of some sequences. Every part has the same size.
struct AttentionPart {
  int64_t sequences, kv_heads;
};
constexpr int64_t score_bytes(int64_t sequences, int64_t heads, int64_t seq) {
  return sequences * heads * ceil_div(seq, 64) * 64 * ceil_div(seq, 128) * 128 * 2;
}
constexpr AttentionPart attention_part(int64_t batch, int64_t seq, int64_t heads, int64_t kv_heads, int64_t limit) {
  AttentionPart part{batch, kv_heads};
  const auto too_big = [&] { return score_bytes(part.sequences, heads / kv_heads * part.kv_heads, seq) > limit; };
  const auto next_divisor = [](int64_t n, int64_t below) {
    do --below;
    while (n % below != 0);
    return below;
  };
  while (too_big() && part.sequences > 1) part.sequences = next_divisor(batch, part.sequences);
  while (too_big() && part.kv_heads > 1) part.kv_heads = next_divisor(kv_heads, part.kv_heads);
  return part;
}

// --- Matrix products
// -----------------------------------------------------------------------------------------------

// The largest power of two that divides an address and a row's bytes: what cuBLASLt may assume. At most 64, what
// every buffer of a plan has, so that the algorithm does not depend on where a buffer stands.
constexpr uint32_t alignment_of(uint64_t address, int64_t row_bytes) {
  uint32_t alignment = 64;
  while (address % alignment != 0 || row_bytes % alignment != 0) alignment /= 2;
  return alignment;
}

}  // namespace trine::cuda
