// What nvcc knows and kernels/cuda/device/ uses, for its sources after rewrite.py.
// What is missing does not compile.
#pragma once

#include <bit>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <math.h>  // in the global namespace, as with nvcc

#include "tests/cuda_on_cpu/block.h"

// Nothing, in CUDA's headers. Where rewrite.py does not come by, it shall not compile.
#undef __shared__

inline void __syncthreads(trine::on_cpu::Place place = trine::on_cpu::Place::current()) {
  trine::on_cpu::wait_for_block(false, place);
}
inline int __syncthreads_or(int value, trine::on_cpu::Place place = trine::on_cpu::Place::current()) {
  return trine::on_cpu::wait_for_block(value != 0, place);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, trine::on_cpu::Place place = trine::on_cpu::Place::current()) {
  trine::on_cpu::exchange_in_warp(mask, 0, 0, place);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask,
                  trine::on_cpu::Place place = trine::on_cpu::Place::current()) {
  return trine::on_cpu::exchange(mask, value, trine::on_cpu::lane_of_thread() ^ lane_mask, place);
}
// From the lane `delta` further in the same group of `width`, else the thread's own.
template <typename T>
T __shfl_down_sync(unsigned mask, T value, int delta, int width = 32,
                   trine::on_cpu::Place place = trine::on_cpu::Place::current()) {
  const int lane = trine::on_cpu::lane_of_thread(), from = lane % width + delta < width ? lane + delta : lane;
  return trine::on_cpu::exchange(mask, value, from, place);
}

// No other thread runs meanwhile.
inline unsigned long long atomicAdd(unsigned long long* address, unsigned long long value) {
  const unsigned long long old = *address;
  *address += value;
  return old;
}

[[noreturn]] inline void __trap(trine::on_cpu::Place place = trine::on_cpu::Place::current()) {
  trine::on_cpu::trap(place);
}

// As on a GPU, the address must be a multiple of 16: undefined behaviour ends the test.
inline void __stwb(uint4* address, uint4 value) { *address = value; }

inline float __expf(float x) { return expf(x); }  // the GPU's is less exact
inline uint32_t __float_as_uint(float x) { return std::bit_cast<uint32_t>(x); }
