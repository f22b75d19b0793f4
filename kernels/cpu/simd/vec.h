// A vector of f32 as wide as the instruction set has it, so that each kernel is written once.
//
// This header is compiled once per instruction set. Whatever it defines stands in namespace TRINE_ISA and is
// inlined by force: an inline function of a common namespace, compiled here for AVX-512 and kept by the linker for
// everybody, would crash a machine without it. That is why base/dtype.h and <algorithm> are not used here
// (scripts/check_isa_symbols.sh). Contraction to fma is off (kernels/CMakeLists.txt);
// where fma is wanted it is written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <immintrin.h>

#include "base/dtype.h"

#define TRINE_INLINE inline __attribute__((always_inline))
#define TRINE_LAMBDA __attribute__((always_inline))

namespace trine::cpu::TRINE_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef int32_t IntVec __attribute__((vector_size(4 * kLanes)));
typedef uint32_t BitVec __attribute__((vector_size(4 * kLanes)));
typedef uint16_t HalfVec __attribute__((vector_size(2 * kLanes)));
typedef float UnalignedVec __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef uint16_t UnalignedHalfVec __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));

// How many lanes of a vector exist: all of them, or the first `count` at the end of a row.
struct Full {};
struct Part {
  int count;  // in [1, kLanes)
};

// body(i, Full or Part) for i = 0, kLanes, ... below n: the same arithmetic on whole vectors and on the tail.
template <typename Body>
TRINE_INLINE void for_lanes(int64_t n, Body&& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, Full{});
  if (i < n) body(i, Part{static_cast<int>(n - i)});
}

// --- Conversions
// -----------------------------------------------------------------------------------------------------

constexpr float kInfinity = __builtin_inff(), kLog2E = 0x1.715476p0f, kLn2 = 0x1.62e43p-1f;

TRINE_INLINE Vec splat(float x) { return x - Vec{}; }
TRINE_INLINE IntVec iota() {
#if defined(__AVX512F__)
  return IntVec{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif defined(__AVX2__)
  return IntVec{0, 1, 2, 3, 4, 5, 6, 7};
#else
  return IntVec{0, 1, 2, 3};
#endif
}

// 16-bit lanes to 32 and back (values below 2^16). Not __builtin_convertvector, which g++ 12 takes apart.
#if defined(__AVX512F__)
TRINE_INLINE BitVec widen_bits(HalfVec x) { return (BitVec)_mm512_cvtepu16_epi32((__m256i)x); }
TRINE_INLINE HalfVec narrow_bits(BitVec x) { return (HalfVec)_mm512_cvtepi32_epi16((__m512i)x); }
#elif defined(__AVX2__)
TRINE_INLINE BitVec widen_bits(HalfVec x) { return (BitVec)_mm256_cvtepu16_epi32((__m128i)x); }
TRINE_INLINE HalfVec narrow_bits(BitVec x) {
  const __m256i packed = _mm256_packus_epi32((__m256i)x, (__m256i)x);
  return (HalfVec)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
}
#else
TRINE_INLINE BitVec widen_bits(HalfVec x) {
  return (BitVec)_mm_unpacklo_epi16(_mm_cvtsi64_si128((long long)x), _mm_setzero_si128());
}
TRINE_INLINE HalfVec narrow_bits(BitVec x) {
  const __m128i extended = (__m128i)((IntVec)(x << 16) >> 16);  // SSE2 packs with signed saturation only
  return (HalfVec)_mm_cvtsi128_si64(_mm_packs_epi32(extended, extended));
}
#endif

TRINE_INLINE Vec widen_bf16(HalfVec x) { return (Vec)(widen_bits(x) << 16); }

TRINE_INLINE HalfVec narrow_bf16(Vec x) {
#if defined(__AVX512BF16__)
  // The instruction takes subnormals for zeros; without them (and zeros) it is right, and five times shorter.
  const __m512i exponent = _mm512_set1_epi32(0x7f800000);
  if (__builtin_expect(_mm512_testn_epi32_mask((__m512i)x, exponent) == 0, 1))
    return (HalfVec)_mm512_cvtneps_pbh((__m512)x);
#endif
  const BitVec bits = (BitVec)x;
  const BitVec rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  return narrow_bits((x != x ? bits | 0x400000u : rounded) >> 16);
}

#if defined(__AVX512F__)
TRINE_INLINE Vec widen_f16(HalfVec x) { return (Vec)_mm512_cvtph_ps((__m256i)x); }
TRINE_INLINE HalfVec narrow_f16(Vec x) { return (HalfVec)_mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT); }
#elif defined(__AVX2__)
TRINE_INLINE Vec widen_f16(HalfVec x) { return (Vec)_mm256_cvtph_ps((__m128i)x); }
TRINE_INLINE HalfVec narrow_f16(Vec x) { return (HalfVec)_mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT); }
#else
// As in base/dtype.h, where the reasons stand.
TRINE_INLINE Vec widen_f16(HalfVec x) {
  const BitVec bits = widen_bits(x), magnitude = bits & 0x7fffu;
  const BitVec finite = (BitVec)((Vec)(magnitude << 13) * 0x1p112f);
  const BitVec value = magnitude >= 0x7c00u ? 0x7f800000u | (magnitude & 0x3ffu) << 13 : finite;
  return (Vec)(value | (bits & 0x8000u) << 16);
}
TRINE_INLINE HalfVec narrow_f16(Vec x) {
  const BitVec bits = (BitVec)x, sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  const BitVec tiny = (BitVec)((Vec)magnitude + 0.5f) - 0x3f000000u;
  const BitVec normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
  BitVec value = magnitude < 0x38800000u ? tiny : normal;
  value = magnitude >= 0x477ff000u ? BitVec{} + 0x7c00u : value;
  value = magnitude > 0x7f800000u ? BitVec{} + 0x7e00u : value;
  return narrow_bits(value | sign);
}
#endif

// --- Loads and stores: absent lanes read as 0 and are not touched
// ----------------------------------------------------

TRINE_INLINE Vec load(const float* p, Full = {}) { return *reinterpret_cast<const UnalignedVec*>(p); }
TRINE_INLINE Vec load(const BFloat16* p, Full = {}) {
  return widen_bf16(*reinterpret_cast<const UnalignedHalfVec*>(p));
}
TRINE_INLINE Vec load(const Float16* p, Full = {}) {
  return widen_f16(*reinterpret_cast<const UnalignedHalfVec*>(p));
}

TRINE_INLINE void store(float* p, Vec x, Full = {}) { *reinterpret_cast<UnalignedVec*>(p) = x; }
TRINE_INLINE void store(BFloat16* p, Vec x, Full = {}) { *reinterpret_cast<UnalignedHalfVec*>(p) = narrow_bf16(x); }
TRINE_INLINE void store(Float16* p, Vec x, Full = {}) { *reinterpret_cast<UnalignedHalfVec*>(p) = narrow_f16(x); }
// What a load of the stored value would give.
TRINE_INLINE Vec rounded(const float*, Vec x) { return x; }
TRINE_INLINE Vec rounded(const BFloat16*, Vec x) { return widen_bf16(narrow_bf16(x)); }
TRINE_INLINE Vec rounded(const Float16*, Vec x) { return widen_f16(narrow_f16(x)); }

#if defined(__AVX512F__)
TRINE_INLINE __mmask16 mask_of(Part part) { return static_cast<__mmask16>((1u << part.count) - 1u); }
TRINE_INLINE Vec load(const float* p, Part part) { return (Vec)_mm512_maskz_loadu_ps(mask_of(part), p); }
TRINE_INLINE HalfVec load_half(const void* p, Part part) {
  return (HalfVec)_mm256_maskz_loadu_epi16(mask_of(part), p);
}
TRINE_INLINE Vec load(const BFloat16* p, Part part) { return widen_bf16(load_half(p, part)); }
TRINE_INLINE Vec load(const Float16* p, Part part) { return widen_f16(load_half(p, part)); }
TRINE_INLINE void store(float* p, Vec x, Part part) { _mm512_mask_storeu_ps(p, mask_of(part), (__m512)x); }
TRINE_INLINE void store(BFloat16* p, Vec x, Part part) {
  _mm256_mask_storeu_epi16(p, mask_of(part), (__m256i)narrow_bf16(x));
}
TRINE_INLINE void store(Float16* p, Vec x, Part part) {
  _mm256_mask_storeu_epi16(p, mask_of(part), (__m256i)narrow_f16(x));
}
#else
template <typename T>
TRINE_INLINE Vec load(const T* p, Part part) {
  T lanes[kLanes] = {};
  __builtin_memcpy(lanes, p, sizeof(T) * part.count);
  return load(lanes);
}
template <typename T>
TRINE_INLINE void store(T* p, Vec x, Part part) {
  T lanes[kLanes];
  store(lanes, x);
  __builtin_memcpy(p, lanes, sizeof(T) * part.count);
}
#endif

// x with the absent lanes replaced.
TRINE_INLINE Vec fill_absent(Vec x, Full, float) { return x; }
TRINE_INLINE Vec fill_absent(Vec x, Part part, float fill) { return iota() < part.count ? x : splat(fill); }

// --- Arithmetic
// ------------------------------------------------------------------------------------------------------

// fma(a, b, c) = a*b + c, rounded once where the instruction set has it. max and min return the second operand when
// one is a NaN. any: is a lane of a comparison true.
#if defined(__AVX512F__)
TRINE_INLINE Vec fma(Vec a, Vec b, Vec c) { return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
TRINE_INLINE Vec max(Vec a, Vec b) { return (Vec)_mm512_max_ps((__m512)a, (__m512)b); }
TRINE_INLINE Vec min(Vec a, Vec b) { return (Vec)_mm512_min_ps((__m512)a, (__m512)b); }
TRINE_INLINE Vec sqrt(Vec x) { return (Vec)_mm512_sqrt_ps((__m512)x); }
TRINE_INLINE Vec round_to_int(Vec x) { return (Vec)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT); }
TRINE_INLINE float sum_lanes(Vec x) { return _mm512_reduce_add_ps((__m512)x); }
TRINE_INLINE float max_lanes(Vec x) { return _mm512_reduce_max_ps((__m512)x); }
TRINE_INLINE bool any(IntVec mask) { return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0; }
// x * 2^n for integral n, exact but for one rounding into the subnormal range.
TRINE_INLINE Vec scale_by_power(Vec x, Vec n) { return (Vec)_mm512_scalef_ps((__m512)x, (__m512)n); }
#else
#if defined(__AVX2__)
TRINE_INLINE Vec fma(Vec a, Vec b, Vec c) { return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
TRINE_INLINE Vec max(Vec a, Vec b) { return (Vec)_mm256_max_ps((__m256)a, (__m256)b); }
TRINE_INLINE Vec min(Vec a, Vec b) { return (Vec)_mm256_min_ps((__m256)a, (__m256)b); }
TRINE_INLINE Vec sqrt(Vec x) { return (Vec)_mm256_sqrt_ps((__m256)x); }
TRINE_INLINE Vec round_to_int(Vec x) { return (Vec)_mm256_round_ps((__m256)x, _MM_FROUND_TO_NEAREST_INT); }
TRINE_INLINE bool any(IntVec mask) { return _mm256_movemask_ps((__m256)mask) != 0; }
#else
TRINE_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
TRINE_INLINE Vec max(Vec a, Vec b) { return (Vec)_mm_max_ps((__m128)a, (__m128)b); }
TRINE_INLINE Vec min(Vec a, Vec b) { return (Vec)_mm_min_ps((__m128)a, (__m128)b); }
TRINE_INLINE Vec sqrt(Vec x) { return (Vec)_mm_sqrt_ps((__m128)x); }
// Exact below 2^22, and more is not asked: adding 1.5 * 2^23 leaves no bits for a fraction.
TRINE_INLINE Vec round_to_int(Vec x) { return (x + 0x1.8p23f) - 0x1.8p23f; }
TRINE_INLINE bool any(IntVec mask) { return _mm_movemask_ps((__m128)mask) != 0; }
#endif
TRINE_INLINE float sum_lanes(Vec x) {
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) x[i] += x[i + width];
  return x[0];
}
TRINE_INLINE float max_lanes(Vec x) {
  float result = x[0];
  for (int i = 1; i < kLanes; ++i) result = x[i] > result ? x[i] : result;
  return result;
}
TRINE_INLINE Vec scale_by_power(Vec x, Vec n) {
  // In two steps, because 2^n itself may be out of range where x * 2^n is not.
  const IntVec all = __builtin_convertvector(n, IntVec), half = all >> 1;
  return x * (Vec)((half + 127) << 23) * (Vec)((all - half + 127) << 23);
}
#endif

// e^t for |t| <= ln(2)/2: a minimax polynomial (Remez), 0.04 ulp off before rounding; exact at 0.
TRINE_INLINE Vec exp_polynomial(Vec t) {
  Vec p = splat(0x1.6a1f62p-10f);
  p = fma(p, t, splat(0x1.123ccap-7f));
  p = fma(p, t, splat(0x1.555904p-5f));
  p = fma(p, t, splat(0x1.55548ep-3f));
  p = fma(p, t, splat(0x1.fffffcp-2f));
  p = fma(p, t, splat(1.0f));
  return fma(p, t, splat(1.0f));
}

// Within 2 ulp over the whole range, subnormal results included; exp(0) = 1, exp(-inf) = 0, a NaN stays a NaN.
TRINE_INLINE Vec exp(Vec x) {
  x = max(splat(-104.0f), min(splat(89.0f), x));
  const Vec n = round_to_int(x * kLog2E);
  const Vec t =
      fma(n, splat(-0x1.7f7d1cp-20f), fma(n, splat(-0x1.62e4p-1f), x));  // ln(2) in two pieces, n*high exact
  return scale_by_power(exp_polynomial(t), n);
}

// 2^x for x <= 1; 2^-inf = 0. What attention needs: the scale of the scores and log2(e) are one factor.
TRINE_INLINE Vec exp2_of_score(Vec x) {
  x = max(splat(-160.0f), x);
  const Vec n = round_to_int(x);
  const Vec p = exp_polynomial((x - n) * kLn2);
#if defined(__AVX512F__)
  return scale_by_power(p, n);
#else
  // Below 2^-126 the result is 0: the exponent field is then empty, which costs less than two steps.
  const IntVec exponent = __builtin_convertvector(n, IntVec) + 127;
  return p * (Vec)((exponent > 0 ? exponent : IntVec{}) << 23);
#endif
}

// Sum over a row of term(i, Full or Part), a Vec whose absent lanes must be 0:
// four running sums, combined in a fixed order.
template <typename Term>
TRINE_INLINE float sum_row(int64_t n, Term&& term) {
  Vec a = {}, b = {}, c = {}, d = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a += term(i, Full{});
    b += term(i + kLanes, Full{});
    c += term(i + 2 * kLanes, Full{});
    d += term(i + 3 * kLanes, Full{});
  }
  for (; i + kLanes <= n; i += kLanes) a += term(i, Full{});
  if (i < n) b += term(i, Part{static_cast<int>(n - i)});
  return sum_lanes((a + b) + (c + d));
}

}  // namespace trine::cpu::TRINE_ISA
