// Ops that copy or add whole pieces of rows: one row of a matrix, copies of heads.
#include "kernels/cuda/device/launch.cuh"

namespace trine::cuda {
namespace {

template <typename T, bool whole>
__global__ void take_row_kernel(int64_t rows, int64_t d, ConstRows x, const int32_t* row_index, T* y) {
  constexpr int N = kPack<T>;
  const int64_t j = item_of_row() * N, i = *row_index;
  require(i >= 0 && i < rows);
  if (j < d) store<whole>(y + j, load<whole, N>(row<T>(x, i) + j, d - j), d - j);
}

// A pack of y stands in one head, because packs are counted within each head.
template <typename T, bool whole>
__global__ void repeat_heads_kernel(int64_t n, int64_t kv_heads, int64_t copies, int64_t head_dim, ConstRows x,
                                    Rows y) {
  constexpr int N = kPack<T>;
  const auto [head, pack] = divide(item_of_row(), ceil_div(head_dim, N));
  if (head >= kv_heads * copies) return;
  const int64_t j = pack * N, from = divide(head, copies).quotient * head_dim + j, to = head * head_dim + j;
  for (int64_t i = blockIdx.y; i < n; i += gridDim.y)
    store<whole>(row<T>(y, i) + to, load<whole, N>(row<T>(x, i) + from, head_dim - j), head_dim - j);
}

template <typename T, bool whole>
__global__ void repeat_heads_grad_kernel(int64_t n, int64_t kv_heads, int64_t copies, int64_t head_dim,
                                         ConstRows dy, Rows dx) {
  constexpr int N = kPack<T>;
  const auto [head, pack] = divide(item_of_row(), ceil_div(head_dim, N));
  if (head >= kv_heads) return;
  const int64_t j = pack * N;
  for (int64_t i = blockIdx.y; i < n; i += gridDim.y) {
    const T* const first = row<T>(dy, i) + head * copies * head_dim + j;
    Values<N> sum = load<whole, N>(first, head_dim - j);
    for (int64_t copy = 1; copy < copies; ++copy) {
      const Values<N> more = load<whole, N>(first + copy * head_dim, head_dim - j);
#pragma unroll
      for (int e = 0; e < N; ++e) sum[e] += more[e];
    }
    store<whole>(row<T>(dx, i) + head * head_dim + j, sum, head_dim - j);
  }
}

}  // namespace

void take_row(cudaStream_t stream, DType dtype, int64_t rows, int64_t d, ConstRows x, const int32_t* row_index,
              void* y) {
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    for_packs(in_packs(x, d, sizeof(T)) && in_packs(y, d, sizeof(T)), [&](auto whole) {
      take_row_kernel<T, whole.value>
          <<<rows_grid(1, ceil_div(d, kPack<T>)), kThreads, 0, stream>>>(rows, d, x, row_index, static_cast<T*>(y));
    });
  });
  check_launch("take_row");
}

void repeat_heads(cudaStream_t stream, DType dtype, int64_t n, int64_t kv_heads, int64_t copies, int64_t head_dim,
                  ConstRows x, Rows y) {
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    for_packs(in_packs(x, head_dim, sizeof(T)) && in_packs(y, head_dim, sizeof(T)), [&](auto whole) {
      const int64_t items = kv_heads * copies * ceil_div(head_dim, kPack<T>);
      repeat_heads_kernel<T, whole.value>
          <<<rows_grid(n, items), kThreads, 0, stream>>>(n, kv_heads, copies, head_dim, x, y);
    });
  });
  check_launch("repeat_heads");
}

void repeat_heads_grad(cudaStream_t stream, DType dtype, int64_t n, int64_t kv_heads, int64_t copies,
                       int64_t head_dim, ConstRows dy, Rows dx) {
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    for_packs(in_packs(dy, head_dim, sizeof(T)) && in_packs(dx, head_dim, sizeof(T)), [&](auto whole) {
      const int64_t items = kv_heads * ceil_div(head_dim, kPack<T>);
      repeat_heads_grad_kernel<T, whole.value>
          <<<rows_grid(n, items), kThreads, 0, stream>>>(n, kv_heads, copies, head_dim, dy, dx);
    });
  });
  check_launch("repeat_heads_grad");
}

}  // namespace trine::cuda
