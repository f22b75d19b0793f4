#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/simd/parallel.h"

namespace trine::cpu::TRINE_ISA {
namespace {

template <typename T>
TRINE_INLINE float max_row(int64_t n, const T* x) {
  Vec a = splat(-kInfinity), b = a;
  int64_t j = 0;
  for (; j + 2 * kLanes <= n; j += 2 * kLanes) {
    a = max(load(x + j), a);
    b = max(load(x + j + kLanes), b);
  }
  for_lanes(n - j, [&](int64_t k, auto lanes)
                       TRINE_LAMBDA { a = max(fill_absent(load(x + j + k, lanes), lanes, -kInfinity), a); });
  return max_lanes(max(a, b));
}

TRINE_INLINE float exp_one(float x) { return exp(splat(x))[0]; }

// The running maximum and sum (online softmax), a stretch at a time:
// the second look at a stretch hits the L1 cache.
template <typename T>
TRINE_INLINE void vocab_stats_row(int64_t v, const T* x, int64_t label, float* stats) {
  constexpr int64_t kStretch = 2048;
  float highest = -kInfinity, sum = 0;
  for (int64_t begin = 0; begin < v; begin += kStretch) {
    const int64_t count = at_most(kStretch, v - begin);
    const float top = max_row(count, x + begin);
    if (top > highest) {
      sum *= exp_one(highest - top);
      highest = top;
    }
    sum += sum_row(count, [&](int64_t j, auto lanes) TRINE_LAMBDA {
      return fill_absent(exp(load(x + begin + j, lanes) - highest), lanes, 0);
    });
  }
  stats[0] = highest;
  stats[1] = sum;
  stats[2] = label >= 0 && label < v ? load(x + label, Part{1})[0] : 0;
}

template <typename T>
TRINE_INLINE void vocab_stats_grad_row(int64_t v, const T* x, float highest, const float* dstats, int64_t label,
                                       T* dx) {
  if (dstats[0] == 0 && dstats[1] == 0 && dstats[2] == 0) {
    __builtin_memset(dx, 0, v * sizeof(T));
    return;
  }
  const bool here = label >= 0 && label < v;
  const float at_label = here ? dstats[1] * exp_one(load(x + label, Part{1})[0] - highest) + dstats[2] : 0;
  const float scale = dstats[1];
  for_lanes(v, [&](int64_t j, auto lanes)
                   TRINE_LAMBDA { store(dx + j, scale * exp(load(x + j, lanes) - highest), lanes); });
  if (here) store(dx + label, splat(at_label), Part{1});
}

}  // namespace

void vocab_stats(DType dtype, int64_t n, int64_t v, ConstRows logits, const int32_t* labels, int64_t first_column,
                 float* stats, Parallel parallel) {
  for_dtype(dtype, [&](auto type) TRINE_LAMBDA {
    using T = decltype(type);
    parallel_for(n, v, parallel, [&](int64_t i) TRINE_LAMBDA {
      vocab_stats_row(v, row<T>(logits, i), labels[i] < 0 ? -1 : labels[i] - first_column, stats + 3 * i);
    });
  });
}

void vocab_stats_grad(DType dtype, int64_t n, int64_t v, ConstRows logits, const float* stats, const float* dstats,
                      const int32_t* labels, int64_t first_column, Rows dlogits, Parallel parallel) {
  for_dtype(dtype, [&](auto type) TRINE_LAMBDA {
    using T = decltype(type);
    parallel_for(n, v, parallel, [&](int64_t i) TRINE_LAMBDA {
      vocab_stats_grad_row(v, row<T>(logits, i), stats[3 * i], dstats + 3 * i,
                           labels[i] < 0 ? -1 : labels[i] - first_column, row<T>(dlogits, i));
    });
  });
}

}  // namespace trine::cpu::TRINE_ISA
