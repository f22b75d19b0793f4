// Sums and maxima over a block of threads, in an order that depends on the number of threads alone.
#pragma once

#include "kernels/cuda/device/values.cuh"

namespace trine::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

template <typename T>
__device__ __forceinline__ T warp_sum(T x) {
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}

// The sum over all threads, for all threads. blockDim.x is a multiple of 32;
// `scratch` has 32 elements of shared memory.
template <typename T>
__device__ T block_sum(T x, T* scratch) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  x = warp_sum(x);
  __syncthreads();  // of an earlier sum, scratch is read
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  const int warps = static_cast<int>(blockDim.x) / 32;
  x = lane < warps ? scratch[lane] : T{};
  return warp_sum(x);
}

}  // namespace trine::cuda
