// ids [n] i32, table T[rows, d] of the rows [first_row, first_row + rows) of the vocabulary.
#include "kernels/cuda/device/launch.cuh"

namespace trine::cuda {
namespace {

template <typename T, bool whole>
__global__ void embedding_kernel(const int32_t* ids, int64_t n, int64_t d, int64_t first_row, int64_t rows,
                                 ConstRows table, Rows out) {
  constexpr int N = kPack<T>;
  const int64_t j = item_of_row() * N;
  if (j >= d) return;
  for (int64_t i = blockIdx.y; i < n; i += gridDim.y) {
    const int64_t r = ids[i] - first_row;
    Values<N> x{};
    if (r >= 0 && r < rows) x = load<whole, N>(row<T>(table, r) + j, d - j);
    store<whole>(row<T>(out, i) + j, x, d - j);
  }
}

// Block row i belongs to token i. The first token with an id adds the rows of all tokens with that id, in
// increasing order, so that no two blocks share a sum and the order is fixed; the others end.
template <typename T, bool whole>
__global__ void embedding_grad_kernel(const int32_t* ids, int64_t n, int64_t d, int64_t first_row, int64_t rows,
                                      ConstRows dy, float* acc) {
  constexpr int N = kPack<T>;
  __shared__ uint8_t same[kThreads];
  const int64_t j = item_of_row() * N;
  for (int64_t i = blockIdx.y; i < n; i += gridDim.y) {
    const int32_t id = ids[i];
    const int64_t r = id - first_row;
    if (r < 0 || r >= rows) continue;
    bool earlier = false;
    for (int64_t begin = 0; begin < i && !earlier; begin += kThreads) {
      const int64_t other = begin + threadIdx.x;
      earlier = __syncthreads_or(other < i && ids[other] == id);
    }
    if (earlier) continue;
    float* const to = acc + r * d + j;
    Values<N> sum{};
    if (j < d) sum = load<whole, N>(to, d - j);
    for (int64_t begin = i; begin < n; begin += kThreads) {
      const int64_t other = begin + threadIdx.x;
      const bool match = other < n && ids[other] == id;
      same[threadIdx.x] = match;
      if (!__syncthreads_or(match)) continue;
      const int64_t count = smaller(kThreads, n - begin);
      for (int64_t t = 0; t < count && j < d; ++t) {
        if (!same[t]) continue;
        const Values<N> more = load<whole, N>(row<T>(dy, begin + t) + j, d - j);
#pragma unroll
        for (int e = 0; e < N; ++e) sum[e] += more[e];
      }
      __syncthreads();  // same is read
    }
    if (j < d) store<whole>(to, sum, d - j);
  }
}

}  // namespace

void embedding(cudaStream_t stream, DType dtype, const int32_t* ids, int64_t n, int64_t d, int64_t first_row,
               int64_t rows, ConstRows table, Rows out) {
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    for_packs(in_packs(table, d, sizeof(T)) && in_packs(out, d, sizeof(T)), [&](auto whole) {
      embedding_kernel<T, whole.value>
          <<<rows_grid(n, ceil_div(d, kPack<T>)), kThreads, 0, stream>>>(ids, n, d, first_row, rows, table, out);
    });
  });
  check_launch("embedding");
}

void embedding_grad(cudaStream_t stream, DType dtype, const int32_t* ids, int64_t n, int64_t d, int64_t first_row,
                    int64_t rows, ConstRows dy, float* acc) {
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    for_packs(in_packs(dy, d, sizeof(T)) && in_packs(acc, d, 4), [&](auto whole) {
      embedding_grad_kernel<T, whole.value>
          <<<rows_grid(n, ceil_div(d, kPack<T>)), kThreads, 0, stream>>>(ids, n, d, first_row, rows, dy, acc);
    });
  });
  check_launch("embedding_grad");
}

}  // namespace trine::cuda
