// Storage types, and the packs of them that a thread handles at once.
//
// A pack is N elements, widened to f32. Whole packs are read and written 16 bytes at a time; where rows are not
// aligned, the same elements go one by one, absent ones reading as 0. So an element meets the same arithmetic, in
// the same thread, wherever it stands in memory. (Contraction to fma is off; where fma is wanted it is written.)
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/device/functions.h"
#include "kernels/cuda/index.h"

namespace trine::cuda {

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float widen(__half x) { return __half2float(x); }

template <typename T>
__device__ __forceinline__ T narrow(float x);
template <>
__device__ __forceinline__ float narrow<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ __nv_bfloat16 narrow<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ __half narrow<__half>(float x) {
  return __float2half_rn(x);
}

template <typename T>
inline constexpr int kPack = pack_size(sizeof(T));

template <int N>
struct Values {
  float v[N];
  __device__ float& operator[](int i) { return v[i]; }
  __device__ float operator[](int i) const { return v[i]; }
};

template <typename T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Stored {
  T v[N];
};

// `count` elements exist from p on; in a whole pack all N do, and p is a multiple of 16 bytes (or of the pack).
template <bool whole, int N, typename T>
__device__ __forceinline__ Values<N> load(const T* p, int64_t count) {
  Values<N> x;
  if constexpr (whole) {
    const Stored<T, N> raw = *reinterpret_cast<const Stored<T, N>*>(p);
#pragma unroll
    for (int i = 0; i < N; ++i) x[i] = widen(raw.v[i]);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) x[i] = i < count ? widen(p[i]) : 0;
  }
  return x;
}

template <bool whole, int N, typename T>
__device__ __forceinline__ void store(T* p, const Values<N>& x, int64_t count) {
  if constexpr (whole) {
    Stored<T, N> raw;
#pragma unroll
    for (int i = 0; i < N; ++i) raw.v[i] = narrow<T>(x[i]);
    if constexpr (sizeof raw % sizeof(uint4) == 0) {
      // Assigned, the compiler may write the members of a struct one by one (scripts/check_ptx.py looks).
      uint4 words[sizeof raw / sizeof(uint4)];
      memcpy(words, &raw, sizeof raw);
#pragma unroll
      for (size_t i = 0; i < sizeof raw / sizeof(uint4); ++i) __stwb(reinterpret_cast<uint4*>(p) + i, words[i]);
    } else {
      *reinterpret_cast<Stored<T, N>*>(p) = raw;
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i)
      if (i < count) p[i] = narrow<T>(x[i]);
  }
}

template <typename T>
__device__ __forceinline__ const T* row(ConstRows m, int64_t i) {
  return static_cast<const T*>(m.data) + i * m.stride;
}
template <typename T>
__device__ __forceinline__ T* row(Rows m, int64_t i) {
  return static_cast<T*>(m.data) + i * m.stride;
}

// A condition that only a wrong program breaks: the launch fails, and the next check of the stream says so.
__device__ __forceinline__ void require(bool condition) {
  if (!condition) __trap();
}

}  // namespace trine::cuda
