// A matrix times a vector is as fast as the matrix can be read: several rows at once, so that enough loads are
// under way and x is widened once for all of them.
#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/simd/parallel.h"

namespace trine::cpu::TRINE_ISA {
namespace {

constexpr int kRowsAtOnce = 4;

// R rows of w; each row's sum has the same order, whatever R.
template <int R, typename T>
TRINE_INLINE void rows_times(int64_t k, const T* x, const T* w, int64_t stride, T* y) {
  Vec even[R] = {}, odd[R] = {};
  int64_t j = 0;
  for (; j + 2 * kLanes <= k; j += 2 * kLanes) {
    const Vec x0 = load(x + j), x1 = load(x + j + kLanes);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      even[r] = fma(load(w + r * stride + j), x0, even[r]);
      odd[r] = fma(load(w + r * stride + j + kLanes), x1, odd[r]);
    }
  }
  for_lanes(k - j, [&](int64_t i, auto lanes) TRINE_LAMBDA {
    const Vec rest = load(x + j + i, lanes);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) even[r] = fma(load(w + r * stride + j + i, lanes), rest, even[r]);
  });
  for (int r = 0; r < R; ++r) store(y + r, splat(sum_lanes(even[r] + odd[r])), Part{1});
}

#if defined(__AVX512BF16__)
// In pairs, added in f32: a quarter of the instructions that widening takes.
TRINE_INLINE __m512bh load_pairs(const BFloat16* p) { return (__m512bh)_mm512_loadu_si512(p); }
TRINE_INLINE __m512bh load_pairs(const BFloat16* p, int64_t count) {  // in [0, 32]
  const uint64_t lanes = (uint64_t{1} << count) - 1;
  return (__m512bh)_mm512_maskz_loadu_epi16(static_cast<__mmask32>(lanes), p);
}

template <int R>
TRINE_INLINE void rows_times(int64_t k, const BFloat16* x, const BFloat16* w, int64_t stride, BFloat16* y) {
  constexpr int64_t kPairs = 32;
  __m512 even[R], odd[R];
  for (int r = 0; r < R; ++r) even[r] = odd[r] = _mm512_setzero_ps();
  int64_t j = 0;
  for (; j + 2 * kPairs <= k; j += 2 * kPairs) {
    const __m512bh x0 = load_pairs(x + j), x1 = load_pairs(x + j + kPairs);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      even[r] = _mm512_dpbf16_ps(even[r], load_pairs(w + r * stride + j), x0);
      odd[r] = _mm512_dpbf16_ps(odd[r], load_pairs(w + r * stride + j + kPairs), x1);
    }
  }
  for (; j < k; j += kPairs) {
    const int64_t count = at_most(kPairs, k - j);
    const __m512bh rest = load_pairs(x + j, count);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) even[r] = _mm512_dpbf16_ps(even[r], load_pairs(w + r * stride + j, count), rest);
  }
  for (int r = 0; r < R; ++r) store(y + r, splat(sum_lanes((Vec)even[r] + (Vec)odd[r])), Part{1});
}
#endif

}  // namespace

void matvec(DType dtype, int64_t m, int64_t k, const void* x, ConstRows w, void* y, Parallel parallel) {
  for_dtype(dtype, [&](auto type) TRINE_LAMBDA {
    using T = decltype(type);
    const T* in = static_cast<const T*>(x);
    T* out = static_cast<T*>(y);
    parallel_for(ceil_div(m, kRowsAtOnce), kRowsAtOnce * k, parallel, [&](int64_t block) TRINE_LAMBDA {
      const int64_t first = block * kRowsAtOnce, end = at_most(m, first + kRowsAtOnce);
      if (end == first + kRowsAtOnce)
        return rows_times<kRowsAtOnce>(k, in, row<T>(w, first), w.stride, out + first);
      for (int64_t i = first; i < end; ++i) rows_times<1>(k, in, row<T>(w, i), w.stride, out + i);
    });
  });
}

}  // namespace trine::cpu::TRINE_ISA
