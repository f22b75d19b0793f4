// From a call's dtype, strides and addresses to an instance of a kernel and its grid.
#pragma once

#include <type_traits>

#include "kernels/cuda/device/values.cuh"

namespace trine::cuda {

// f(T{}) with the storage type of a float dtype.
template <typename F>
void for_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF32:
      return f(float{});
    case DType::kBF16:
      return f(__nv_bfloat16{});
    case DType::kF16:
      return f(__half{});
    default:
      refuse_dtype(static_cast<int>(dtype));
  }
}

// f(std::true_type{}) where rows go in whole packs.
template <typename F>
void for_packs(bool whole, F&& f) {
  if (whole)
    f(std::true_type{});
  else
    f(std::false_type{});
}

inline bool in_packs(ConstRows m, int64_t columns, int64_t item_bytes) {
  return in_packs(reinterpret_cast<uint64_t>(m.data), m.stride, columns, item_bytes);
}
inline bool in_packs(Rows m, int64_t columns, int64_t item_bytes) {
  return in_packs(ConstRows{m.data, m.stride}, columns, item_bytes);
}
inline bool in_packs(const void* vector, int64_t columns, int64_t item_bytes) {
  return in_packs(ConstRows{vector, columns}, columns, item_bytes);
}

constexpr int kThreads = 256;
constexpr int64_t kMaxGridRows = 65535, kMaxGridBlocks = 2147483647;  // in y and z, in x

// A grid's x dim, checked: more than it can have would become fewer.
inline unsigned grid_blocks(int64_t blocks) {
  if (blocks > kMaxGridBlocks) refuse_grid(blocks);
  return static_cast<unsigned>(blocks);
}

// A thread for each item of a row, a block row for each row (or several rows for one, in steps of gridDim.y).
inline dim3 rows_grid(int64_t rows, int64_t items) {
  return {grid_blocks(ceil_div(items, kThreads)), static_cast<unsigned>(smaller(rows, kMaxGridRows)), 1};
}
__device__ __forceinline__ int64_t item_of_row() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }

// A fixed number of blocks that walk over `items` in steps of the grid: enough to fill any GPU.
inline unsigned walking_blocks(int64_t items) {
  return static_cast<unsigned>(smaller(ceil_div(items, kThreads), 2048));
}

}  // namespace trine::cuda
