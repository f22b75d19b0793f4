#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/simd/parallel.h"

namespace trine::cpu::TRINE_ISA {
namespace {

// Both halves are loaded before either is stored, so that out may be x.
template <typename T>
TRINE_INLINE void rotate(int64_t half, const T* x, const float* cos, const float* sin, bool inverse, T* out) {
  for_lanes(half, [&](int64_t j, auto lanes) TRINE_LAMBDA {
    const Vec x1 = load(x + j, lanes), x2 = load(x + half + j, lanes), c = load(cos + j, lanes);
    Vec s = load(sin + j, lanes);
    if (inverse) s = -s;
    store(out + j, fma(x1, c, -(x2 * s)), lanes);
    store(out + half + j, fma(x2, c, x1 * s), lanes);
  });
}

}  // namespace

void rope(DType dtype, int64_t n, int heads, int head_dim, int64_t seq, ConstRows x, const float* cos,
          const float* sin, bool inverse, Rows out, Parallel parallel) {
  const int64_t half = head_dim / 2;
  for_dtype(dtype, [&](auto type) TRINE_LAMBDA {
    using T = decltype(type);
    parallel_for(n, int64_t{heads} * head_dim, parallel, [&](int64_t i) TRINE_LAMBDA {
      const int64_t at = i % seq * half;
      for (int64_t h = 0; h < heads; ++h)
        rotate(half, row<T>(x, i) + h * head_dim, cos + at, sin + at, inverse, row<T>(out, i) + h * head_dim);
    });
  });
}

}  // namespace trine::cpu::TRINE_ISA
