#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/simd/parallel.h"

namespace trine::cpu::TRINE_ISA {
namespace {

template <typename From, typename To>
TRINE_INLINE void convert(int64_t n, const From* src, To* dst) {
  for_lanes(n, [&](int64_t j, auto lanes) TRINE_LAMBDA { store(dst + j, load(src + j, lanes), lanes); });
}

TRINE_INLINE IntVec non_finite(Vec x) { return ((BitVec)x & 0x7f800000u) == 0x7f800000u; }

}  // namespace

void add(DType dtype, int64_t n, int64_t d, ConstRows a, ConstRows b, Rows y, Parallel parallel) {
  for_dtype(dtype, [&](auto type) TRINE_LAMBDA {
    using T = decltype(type);
    parallel_for(n, d, parallel, [&](int64_t i) TRINE_LAMBDA {
      const T *ai = row<T>(a, i), *bi = row<T>(b, i);
      T* yi = row<T>(y, i);
      for_lanes(d, [&](int64_t j, auto lanes)
                       TRINE_LAMBDA { store(yi + j, load(ai + j, lanes) + load(bi + j, lanes), lanes); });
    });
  });
}

void cast(DType from, DType to, int64_t n, const void* src, void* dst, Parallel parallel) {
  for_dtype(from, [&](auto from_type) TRINE_LAMBDA {
    for_dtype(to, [&](auto to_type) TRINE_LAMBDA {
      parallel_chunks(n, parallel, [&](int64_t begin, int64_t count) TRINE_LAMBDA {
        convert(count, static_cast<const decltype(from_type)*>(src) + begin,
                static_cast<decltype(to_type)*>(dst) + begin);
      });
    });
  });
}

void copy_rows(DType from, DType to, int64_t n, int64_t d, ConstRows src, Rows dst, Parallel parallel) {
  for_dtype(from, [&](auto from_type) TRINE_LAMBDA {
    for_dtype(to, [&](auto to_type) TRINE_LAMBDA {
      parallel_for(n, d, parallel, [&](int64_t i) TRINE_LAMBDA {
        convert(d, row<decltype(from_type)>(src, i), row<decltype(to_type)>(dst, i));
      });
    });
  });
}

void accumulate(int64_t n, float* acc, const float* x, bool overwrite, Parallel parallel) {
  parallel_chunks(n, parallel, [&](int64_t begin, int64_t count) TRINE_LAMBDA {
    float* to = acc + begin;
    const float* from = x + begin;
    if (overwrite)
      __builtin_memcpy(to, from, count * sizeof(float));
    else
      for_lanes(count, [&](int64_t j, auto lanes)
                           TRINE_LAMBDA { store(to + j, load(to + j, lanes) + load(from + j, lanes), lanes); });
  });
}

int64_t count_non_finite(DType dtype, int64_t n, int64_t d, ConstRows x, Parallel parallel) {
  int64_t total = 0;
  for_dtype(dtype, [&](auto type) TRINE_LAMBDA {
    using T = decltype(type);
    parallel_for(n, d, parallel, [&](int64_t i) TRINE_LAMBDA {
      const T* xi = row<T>(x, i);
      IntVec found = {};  // minus the count
      for_lanes(d, [&](int64_t j, auto lanes) TRINE_LAMBDA { found += non_finite(load(xi + j, lanes)); });
      int64_t count = 0;
      for (int lane = 0; lane < kLanes; ++lane) count -= found[lane];
      if (count != 0) __atomic_fetch_add(&total, count, __ATOMIC_RELAXED);
    });
  });
  return total;
}

int64_t first_non_finite(DType dtype, int64_t n, int64_t d, ConstRows x) {
  int64_t result = -1;
  for_dtype(dtype, [&](auto type) TRINE_LAMBDA {
    using T = decltype(type);
    for (int64_t i = 0; i < n && result < 0; ++i) {
      const T* xi = row<T>(x, i);
      for (int64_t j = 0; j < d && result < 0; ++j)
        if (non_finite(load(xi + j, Part{1}))[0]) result = i * d + j;
    }
  });
  return result;
}

}  // namespace trine::cpu::TRINE_ISA
