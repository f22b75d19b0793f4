#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/simd/parallel.h"

namespace trine::cpu::TRINE_ISA {
namespace {

// The rows whose contributions to dw are summed together: a function of n alone, so that threads do not change dw.
int64_t rows_per_block(int64_t n) { return at_least(16, ceil_div(n, 64)); }

// With kAdds, x is a + b, which is stored in `sum`; without, it is a.
template <bool kAdds, typename T>
TRINE_INLINE void rms_norm_row(int64_t d, float eps, const T* a, const T* b, T* sum, const T* w, T* y,
                               float* rstd) {
  const float squares = sum_row(d, [&](int64_t j, auto lanes) TRINE_LAMBDA {
    Vec v = load(a + j, lanes);
    if (kAdds) {
      store(sum + j, v + load(b + j, lanes), lanes);
      v = load(sum + j, lanes);  // as rounded
    }
    return v * v;
  });
  const float scale = 1.0f / __builtin_sqrtf(squares / static_cast<float>(d) + eps);
  const T* x = kAdds ? sum : a;
  for_lanes(d, [&](int64_t j, auto lanes)
                   TRINE_LAMBDA { store(y + j, load(x + j, lanes) * scale * load(w + j, lanes), lanes); });
  *rstd = scale;
}

template <bool kAdds, typename T>
TRINE_INLINE void rms_norm_grad_row(int64_t d, const T* x, const T* w, float rstd, const T* dy, const T* residual,
                                    T* dx, float* dw) {
  const float dot = sum_row(d, [&](int64_t j, auto lanes) TRINE_LAMBDA {
    return load(w + j, lanes) * load(dy + j, lanes) * load(x + j, lanes);
  });
  const Vec toward_x = splat(-(dot / static_cast<float>(d)) * rstd * rstd * rstd);
  for_lanes(d, [&](int64_t j, auto lanes) TRINE_LAMBDA {
    const Vec xj = load(x + j, lanes), dyj = load(dy + j, lanes);
    store(dw + j, fma(dyj, xj * rstd, load(dw + j, lanes)), lanes);
    const Vec dxj = fma(xj, toward_x, load(w + j, lanes) * dyj * rstd);
    store(dx + j, kAdds ? rounded(dx, dxj) + load(residual + j, lanes) : dxj, lanes);
  });
}

}  // namespace

void rms_norm(DType dtype, int64_t n, int64_t d, float eps, ConstRows x, const void* w, Rows y, float* rstd,
              Parallel parallel) {
  for_dtype(dtype, [&](auto type) TRINE_LAMBDA {
    using T = decltype(type);
    parallel_for(n, d, parallel, [&](int64_t i) TRINE_LAMBDA {
      rms_norm_row<false>(d, eps, row<T>(x, i), row<T>(x, i), row<T>(y, i), static_cast<const T*>(w), row<T>(y, i),
                          rstd + i);
    });
  });
}

void add_rms_norm(DType dtype, int64_t n, int64_t d, float eps, ConstRows a, ConstRows b, const void* w, Rows sum,
                  Rows y, float* rstd, Parallel parallel) {
  for_dtype(dtype, [&](auto type) TRINE_LAMBDA {
    using T = decltype(type);
    parallel_for(n, d, parallel, [&](int64_t i) TRINE_LAMBDA {
      rms_norm_row<true>(d, eps, row<T>(a, i), row<T>(b, i), row<T>(sum, i), static_cast<const T*>(w), row<T>(y, i),
                         rstd + i);
    });
  });
}

size_t rms_norm_grad_scratch_bytes(int64_t n, int64_t d) {
  return ceil_div(n, rows_per_block(n)) * round_up(d, 16) * sizeof(float);
}

void rms_norm_grad(DType dtype, int64_t n, int64_t d, ConstRows x, const void* w, const float* rstd, ConstRows dy,
                   ConstRows residual, Rows dx, float* dw, void* scratch, Parallel parallel) {
  const int64_t step = rows_per_block(n), blocks = ceil_div(n, step), stride = round_up(d, 16);
  float* partial = static_cast<float*>(scratch);
  for_dtype(dtype, [&](auto type) TRINE_LAMBDA {
    using T = decltype(type);
    const T* weight = static_cast<const T*>(w);
    parallel_for(blocks, step * d, parallel, [&](int64_t block) TRINE_LAMBDA {
      float* sum = partial + block * stride;
      __builtin_memset(sum, 0, d * sizeof(float));
      for (int64_t i = block * step; i < at_most(n, (block + 1) * step); ++i) {
        const T *xi = row<T>(x, i), *dyi = row<T>(dy, i);
        if (residual.data)
          rms_norm_grad_row<true>(d, xi, weight, rstd[i], dyi, row<T>(residual, i), row<T>(dx, i), sum);
        else
          rms_norm_grad_row<false>(d, xi, weight, rstd[i], dyi, dyi, row<T>(dx, i), sum);
      }
    });
  });
  constexpr int64_t kColumns = 256;
  parallel_for(ceil_div(d, kColumns), blocks * kColumns, parallel, [&](int64_t i) TRINE_LAMBDA {
    const int64_t begin = i * kColumns;
    for_lanes(at_most(kColumns, d - begin), [&](int64_t j, auto lanes) TRINE_LAMBDA {
      Vec sum = {};
      for (int64_t block = 0; block < blocks; ++block) sum += load(partial + block * stride + begin + j, lanes);
      store(dw + begin + j, sum, lanes);
    });
  });
}

}  // namespace trine::cpu::TRINE_ISA
