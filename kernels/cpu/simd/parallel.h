// Threads and dtypes: the loops around the vector code.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

#include "kernels/cpu/simd/functions.h"
#include "kernels/cpu/simd/vec.h"

namespace trine::cpu::TRINE_ISA {

TRINE_INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
TRINE_INLINE int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
TRINE_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
TRINE_INLINE int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

TRINE_INLINE int thread_index() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

// body(i) for i in [0, n). `cost` is the elements that one i touches: little work stays on this thread. The team is
// always the whole one, because libgomp ends threads when a team shrinks.
template <typename Body>
TRINE_INLINE void parallel_for(int64_t n, int64_t cost, Parallel parallel, Body&& body) {
  [[maybe_unused]] const bool worth = parallel.threads > 1 && n > 1 && n * cost >= 16384;
#ifdef _OPENMP
#pragma omp parallel for schedule(static) num_threads(parallel.threads) if (worth)
#endif
  for (int64_t i = 0; i < n; ++i) body(i);
}

// The same for few tasks of unequal length: body(i, thread index).
template <typename Body>
TRINE_INLINE void parallel_tasks(int64_t n, Parallel parallel, Body&& body) {
  [[maybe_unused]] const bool worth = parallel.threads > 1 && n > 1;
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 1) num_threads(parallel.threads) if (worth)
#endif
  for (int64_t i = 0; i < n; ++i) body(i, thread_index());
}

// Flat arrays go in chunks of this many elements.
constexpr int64_t kChunk = 8192;

// body(begin, count) over chunks of [0, n).
template <typename Body>
TRINE_INLINE void parallel_chunks(int64_t n, Parallel parallel, Body&& body) {
  parallel_for(ceil_div(n, kChunk), kChunk, parallel,
               [&](int64_t i) TRINE_LAMBDA { body(i * kChunk, at_most(kChunk, n - i * kChunk)); });
}

// f(T{}) with the storage type of a float dtype.
template <typename F>
TRINE_INLINE void for_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF32:
      return f(float{});
    case DType::kBF16:
      return f(BFloat16{});
    case DType::kF16:
      return f(Float16{});
    default:
      __builtin_trap();
  }
}

template <typename T>
TRINE_INLINE const T* row(ConstRows m, int64_t i) {
  return static_cast<const T*>(m.data) + i * m.stride;
}
template <typename T>
TRINE_INLINE T* row(Rows m, int64_t i) {
  return static_cast<T*>(m.data) + i * m.stride;
}

}  // namespace trine::cpu::TRINE_ISA
