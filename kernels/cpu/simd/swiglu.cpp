#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/simd/parallel.h"

namespace trine::cpu::TRINE_ISA {

void swiglu(DType dtype, int64_t n, int64_t f, ConstRows g, ConstRows u, Rows h, Parallel parallel) {
  for_dtype(dtype, [&](auto type) TRINE_LAMBDA {
    using T = decltype(type);
    parallel_for(n, f, parallel, [&](int64_t i) TRINE_LAMBDA {
      const T *gi = row<T>(g, i), *ui = row<T>(u, i);
      T* hi = row<T>(h, i);
      for_lanes(f, [&](int64_t j, auto lanes) TRINE_LAMBDA {
        const Vec x = load(gi + j, lanes);
        store(hi + j, x / (1.0f + exp(-x)) * load(ui + j, lanes), lanes);
      });
    });
  });
}

void swiglu_grad(DType dtype, int64_t n, int64_t f, ConstRows g, ConstRows u, ConstRows dh, Rows dg, Rows du,
                 Parallel parallel) {
  for_dtype(dtype, [&](auto type) TRINE_LAMBDA {
    using T = decltype(type);
    parallel_for(n, f, parallel, [&](int64_t i) TRINE_LAMBDA {
      const T *gi = row<T>(g, i), *ui = row<T>(u, i), *dhi = row<T>(dh, i);
      T *dgi = row<T>(dg, i), *dui = row<T>(du, i);
      for_lanes(f, [&](int64_t j, auto lanes) TRINE_LAMBDA {
        const Vec x = load(gi + j, lanes), up = load(ui + j, lanes), dy = load(dhi + j, lanes);
        const Vec sigmoid = 1.0f / (1.0f + exp(-x)), dys = dy * sigmoid;
        store(dgi + j, dys * up * fma(x, 1.0f - sigmoid, splat(1.0f)), lanes);
        store(dui + j, dys * x, lanes);
      });
    });
  });
}

}  // namespace trine::cpu::TRINE_ISA
