// Small matrix products and the packing they need: what attention is made of.
//
// One micro-kernel computes all products: c[r][lanes] += a(r, k) * b[k][lanes], where a scalar of `a` is broadcast
// and a row of `b` is a vector. Operands are of one of two kinds, both with 32-bit elements:
//   Floats  an element is an f32; k counts single terms;
//   Pairs   an element is two bf16 (terms 2k and 2k+1) that vdpbf16ps multiplies and adds in f32; k counts pairs.
#pragma once

#include "kernels/cpu/simd/parallel.h"

namespace trine::cpu::TRINE_ISA {

constexpr int kTile = 64;      // queries, and keys, per tile
constexpr int kGroup = 16;     // granularity at which products skip what causality masks
constexpr int kMicroRows = 4;  // rows of c that a micro-kernel holds in registers
constexpr int kMicroVectors = kLanes == 16 ? 4 : 2;
static_assert(kGroup % kLanes == 0 && kTile % (kMicroVectors * kLanes) == 0);

struct Floats {
  using Element = float;
  using Vector = Vec;
  static constexpr int kTerms = 1;
  static TRINE_INLINE Vector broadcast(const Element* p) { return splat(*p); }
  static TRINE_INLINE Vector vector(const Element* p) { return load(p); }
  static TRINE_INLINE Vec multiply_add(Vector a, Vector b, Vec c) { return fma(a, b, c); }
};

#if defined(__AVX512BF16__)
struct Pairs {
  using Element = uint32_t;
  using Vector = __m512i;
  static constexpr int kTerms = 2;
  static TRINE_INLINE Vector broadcast(const Element* p) { return _mm512_set1_epi32(static_cast<int>(*p)); }
  static TRINE_INLINE Vector vector(const Element* p) { return _mm512_loadu_si512(p); }
  static TRINE_INLINE Vec multiply_add(Vector a, Vector b, Vec c) {
    return (Vec)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
  }
};
template <typename T>
struct OperandOf {
  using type = Floats;
};
template <>
struct OperandOf<BFloat16> {
  using type = Pairs;
};
#else
template <typename T>
struct OperandOf {
  using type = Floats;
};
#endif
template <typename T>
using Operand = typename OperandOf<T>::type;

// a(r, k) = data[r * row + k * term]
template <typename Op>
struct Left {
  const typename Op::Element* data;
  int64_t row, term;
};
template <typename Op>
struct Right {
  const typename Op::Element* data;
  int64_t stride;
};

template <typename Op, int V>
TRINE_INLINE void micro_product(int64_t depth, Left<Op> a, Right<Op> b, float* c, int64_t stride, bool add) {
  Vec sum[kMicroRows][V];
#pragma GCC unroll 8
  for (int r = 0; r < kMicroRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[r][v] = add ? load(c + r * stride + v * kLanes) : Vec{};
  const typename Op::Element *a0 = a.data, *pb = b.data;
  for (int64_t k = 0; k < depth; ++k, a0 += a.term, pb += b.stride) {
    typename Op::Vector right[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) right[v] = Op::vector(pb + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kMicroRows; ++r) {
      const typename Op::Vector left = Op::broadcast(a0 + r * a.row);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[r][v] = Op::multiply_add(left, right[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kMicroRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(c + r * stride + v * kLanes, sum[r][v]);
}

// c[rows][columns] = (add ? c : 0) + a b over depth terms (pairs). rows is rounded up to kMicroRows, columns to
// kLanes: the operands must have (zero) room for that. Each element's sum runs over k in
// order, whatever the blocking.
template <typename Op>
__attribute__((noinline)) static void product(int64_t rows, int64_t columns, int64_t depth, Left<Op> a, Right<Op> b,
                                              float* c, int64_t stride, bool add) {
  const int64_t vectors = ceil_div(columns, kLanes);
  for (int64_t v = 0; v < vectors; v += kMicroVectors) {
    const Right<Op> bv = {b.data + v * kLanes, b.stride};
    for (int64_t r = 0; r < rows; r += kMicroRows) {
      const Left<Op> ar = {a.data + r * a.row, a.row, a.term};
      float* cr = c + r * stride + v * kLanes;
      switch (at_most(kMicroVectors, vectors - v)) {
        case 1:
          micro_product<Op, 1>(depth, ar, bv, cr, stride, add);
          break;
        case 2:
          micro_product<Op, 2>(depth, ar, bv, cr, stride, add);
          break;
        case 3:
          micro_product<Op, 3>(depth, ar, bv, cr, stride, add);
          break;
        default:
          micro_product<Op, kMicroVectors>(depth, ar, bv, cr, stride, add);
          break;
      }
    }
  }
}

// --- Packing
// --------------------------------------------------------------------------------------------------------- A tile
// is kTile rows of head_dim terms, in one of three layouts, zero where the source has nothing:
//   natural     [kTile][width / kTerms]   elements run along the terms of a row
//   by row      [kTile / kTerms][width]   Floats: the same as natural; Pairs: an element is one term of two rows
//   transposed  [width / kTerms][kTile]   natural with the elements transposed

// The terms of a packed row: whole vectors on every level.
TRINE_INLINE int64_t packed_width(int64_t head_dim) { return round_up(head_dim, 16); }

// natural layout of rows [first, first + count), columns [column, column + head_dim) of src.
template <typename T>
TRINE_INLINE void pack(ConstRows src, int64_t first, int64_t count, int64_t column, int64_t head_dim,
                       float* natural) {
  const int64_t width = packed_width(head_dim);
  for (int64_t i = 0; i < count; ++i) {
    const T* from = row<T>(src, first + i) + column;
    float* to = natural + i * width;
    for_lanes(head_dim, [&](int64_t j, auto lanes) TRINE_LAMBDA { store(to + j, load(from + j, lanes)); });
    for (int64_t j = round_up(head_dim, kLanes); j < width; j += kLanes) store(to + j, Vec{});
  }
  __builtin_memset(natural + count * width, 0, (kTile - count) * width * sizeof(float));
}

TRINE_INLINE const float* by_row(const float* natural, int64_t /*head_dim*/, float* /*unused*/) { return natural; }

#if defined(__AVX512BF16__)
template <typename T>
TRINE_INLINE void pack(ConstRows src, int64_t first, int64_t count, int64_t column, int64_t head_dim,
                       uint32_t* natural) {
  const int64_t width = packed_width(head_dim) / 2, bytes = head_dim * 2;
  for (int64_t i = 0; i < count; ++i) {
    char* to = reinterpret_cast<char*>(natural + i * width);
    __builtin_memcpy(to, row<T>(src, first + i) + column, bytes);
    __builtin_memset(to + bytes, 0, width * 4 - bytes);
  }
  __builtin_memset(natural + count * width, 0, (kTile - count) * width * 4);
}

TRINE_INLINE const uint32_t* by_row(const uint32_t* natural, int64_t head_dim, uint32_t* dst) {
  const int64_t width = packed_width(head_dim);
  for (int64_t i = 0; i < kTile; i += 2)
    for (int64_t j = 0; j < width; j += kLanes) {
      const char* from = reinterpret_cast<const char*>(natural) + (i * width + j) * 2;
      const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
      const __m512i high =
          _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + width * 2)));
      _mm512_storeu_si512(dst + i / 2 * width + j, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
  return dst;
}
#endif

// dst[columns][rows] = src[rows][columns] of 32-bit elements; rows and columns are rounded up to 4.
TRINE_INLINE void transpose(int64_t rows, int64_t columns, const void* src, int64_t src_stride, void* dst,
                            int64_t dst_stride) {
  for (int64_t i = 0; i < rows; i += 4)
    for (int64_t j = 0; j < columns; j += 4) {
      const float* from = static_cast<const float*>(src) + i * src_stride + j;
      __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + src_stride);
      __m128 c = _mm_loadu_ps(from + 2 * src_stride), d = _mm_loadu_ps(from + 3 * src_stride);
      _MM_TRANSPOSE4_PS(a, b, c, d);
      float* to = static_cast<float*>(dst) + j * dst_stride + i;
      _mm_storeu_ps(to, a);
      _mm_storeu_ps(to + dst_stride, b);
      _mm_storeu_ps(to + 2 * dst_stride, c);
      _mm_storeu_ps(to + 3 * dst_stride, d);
    }
}

#if defined(__AVX512BF16__)
// Two vectors rounded to bf16, side by side.
struct TwoHalves {
  __m512i bits;
};
TRINE_INLINE TwoHalves round_two(Vec x0, Vec x1) { return {(__m512i)_mm512_cvtne2ps_pbh((__m512)x1, (__m512)x0)}; }

// Lane i of dst gets the pair (x0[i], x1[i]).
TRINE_INLINE void store_pairs(uint32_t* dst, TwoHalves x) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  _mm512_storeu_si512(dst, _mm512_permutexvar_epi16(order, x.bits));
}
#endif

// --- Causality
// -------------------------------------------------------------------------------------------------------

// Keys (of a tile) that some query of the vector of queries at `query` may see.
TRINE_INLINE int64_t visible_keys(int64_t query, bool diagonal) {
  return diagonal ? (query / kGroup + 1) * kGroup : kTile;
}

// In the tile on the diagonal, scores[key][query]: the vector of queries at `query` cannot see later keys.
TRINE_INLINE void mask_future(int64_t query, float* scores) {
  const IntVec queries = iota() + static_cast<int>(query);
  for (int64_t key = query; key < visible_keys(query, true); ++key) {
    float* s = scores + key * kTile + query;
    store(s, queries >= static_cast<int>(key) ? load(s) : splat(-kInfinity));
  }
}

// Cuts scratch into buffers of 32-bit elements, each on a cache line. With a null base it only counts.
struct ScratchCutter {
  uintptr_t base;
  size_t used = 0;
  template <typename Element>
  TRINE_INLINE void take(Element*& buffer, int64_t elements) {
    buffer = reinterpret_cast<Element*>(base + used);
    used += static_cast<size_t>(round_up(elements, 16)) * 4;
  }
};

}  // namespace trine::cpu::TRINE_ISA
