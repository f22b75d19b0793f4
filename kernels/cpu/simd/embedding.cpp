#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/simd/parallel.h"

namespace trine::cpu::TRINE_ISA {

void embedding(DType dtype, const int32_t* ids, int64_t n, int64_t d, int64_t first_row, int64_t rows,
               ConstRows table, Rows out, Parallel parallel) {
  const int64_t bytes = dtype == DType::kF32 ? 4 : 2;
  parallel_for(n, d, parallel, [&](int64_t i) TRINE_LAMBDA {
    const int64_t r = ids[i] - first_row;
    char* to = static_cast<char*>(out.data) + i * out.stride * bytes;
    if (r >= 0 && r < rows)
      __builtin_memcpy(to, static_cast<const char*>(table.data) + r * table.stride * bytes, d * bytes);
    else
      __builtin_memset(to, 0, d * bytes);
  });
}

// A task is a range of columns: it sees all tokens in order, so that no thread shares a sum and the order is fixed.
void embedding_grad(DType dtype, const int32_t* ids, int64_t n, int64_t d, int64_t first_row, int64_t rows,
                    ConstRows dy, float* acc, bool overwrite, Parallel parallel) {
  if (overwrite)
    parallel_chunks(rows * d, parallel, [&](int64_t begin, int64_t count) TRINE_LAMBDA {
      __builtin_memset(acc + begin, 0, count * sizeof(float));
    });
  constexpr int64_t kColumns = 64;
  for_dtype(dtype, [&](auto type) TRINE_LAMBDA {
    using T = decltype(type);
    parallel_for(ceil_div(d, kColumns), n * kColumns, parallel, [&](int64_t block) TRINE_LAMBDA {
      const int64_t begin = block * kColumns, count = at_most(kColumns, d - begin);
      for (int64_t i = 0; i < n; ++i) {
        const int64_t r = ids[i] - first_row;
        if (r < 0 || r >= rows) continue;
        float* to = acc + r * d + begin;
        const T* from = row<T>(dy, i) + begin;
        for_lanes(count, [&](int64_t j, auto lanes)
                             TRINE_LAMBDA { store(to + j, load(to + j, lanes) + load(from + j, lanes), lanes); });
      }
    });
  });
}

}  // namespace trine::cpu::TRINE_ISA
