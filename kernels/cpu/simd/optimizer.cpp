#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/simd/parallel.h"

namespace trine::cpu::TRINE_ISA {
namespace {

constexpr int64_t kBlock = 256;
constexpr int kSums = 16;  // running sums per block: on every level, so that the sum has the same bits on all

TRINE_INLINE float sum_of_squares(const float* g, int64_t n) {
  constexpr int kVectors = kSums / kLanes;
  Vec sums[kVectors] = {};
  int64_t j = 0;
  for (; j + kSums <= n; j += kSums)
    for (int k = 0; k < kVectors; ++k) {
      const Vec x = load(g + j + k * kLanes);
      sums[k] += x * x;
    }
  for (int k = 0; k < kVectors && j < n; ++k, j += kLanes) {
    const Vec x = n - j >= kLanes ? load(g + j) : load(g + j, Part{static_cast<int>(n - j)});
    sums[k] += x * x;
  }
  float lanes[kSums];
  for (int k = 0; k < kVectors; ++k) store(lanes + k * kLanes, sums[k]);
  for (int width = kSums / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

TRINE_INLINE void add_exactly(float sum, int64_t* bins) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, sum), exponent = (bits >> 23) & 0xffu,
                 fraction = bits & 0x7fffffu;
  if (exponent == 0xffu) {
    ++bins[64];
    return;
  }
  // A subnormal has no implicit bit and the scale of exponent 1.
  const int64_t mantissa = exponent == 0 ? fraction << 1 : fraction | 0x800000u;
  bins[exponent >> 2] += mantissa << (exponent & 3u);
}

template <typename T>
TRINE_INLINE void adamw_range(int64_t n, const AdamWStep& a, float* master, float* m, float* v, const float* grad,
                              T* compute) {
  const float rest1 = 1.0f - a.beta1, rest2 = 1.0f - a.beta2, decay = a.lr * a.weight_decay;
  for_lanes(n, [&](int64_t j, auto lanes) TRINE_LAMBDA {
    const Vec g = load(grad + j, lanes) * a.grad_scale;
    const Vec mj = fma(splat(a.beta1), load(m + j, lanes), rest1 * g);
    const Vec vj = fma(splat(a.beta2), load(v + j, lanes), rest2 * g * g);
    const Vec step = (mj / a.bias_correction1) / (sqrt(vj / a.bias_correction2) + a.eps);
    const Vec p = load(master + j, lanes);
    const Vec updated = fma(splat(-a.lr), step, fma(splat(-decay), p, p));
    store(m + j, mj, lanes);
    store(v + j, vj, lanes);
    store(master + j, updated, lanes);
    if (compute != nullptr) store(compute + j, updated, lanes);
  });
}

}  // namespace

void squared_norm_bins(int64_t n, const float* g, int64_t* bins, Parallel parallel) {
  // A range for each thread: bins of its own once a call, not once a chunk.
  const int64_t blocks = ceil_div(n, kBlock), parts = at_least(1, at_most(blocks, parallel.threads));
  parallel_for(parts, ceil_div(n, parts), parallel, [&](int64_t part) TRINE_LAMBDA {
    const int64_t end = at_most(n, blocks * (part + 1) / parts * kBlock);
    int64_t own[kNormBins] = {};
    for (int64_t j = blocks * part / parts * kBlock; j < end; j += kBlock)
      add_exactly(sum_of_squares(g + j, at_most(kBlock, end - j)), own);
    for (int i = 0; i < kNormBins; ++i)
      if (own[i] != 0) __atomic_fetch_add(&bins[i], own[i], __ATOMIC_RELAXED);
  });
}

void adamw(DType compute_dtype, int64_t n, const AdamWStep& parameters, float* master, float* m, float* v,
           const float* grad, void* compute, Parallel parallel) {
  for_dtype(compute_dtype, [&](auto type) TRINE_LAMBDA {
    using T = decltype(type);
    parallel_chunks(n, parallel, [&](int64_t begin, int64_t count) TRINE_LAMBDA {
      T* copy = compute == nullptr ? nullptr : static_cast<T*>(compute) + begin;
      adamw_range(count, parameters, master + begin, m + begin, v + begin, grad + begin, copy);
    });
  });
}

}  // namespace trine::cpu::TRINE_ISA
