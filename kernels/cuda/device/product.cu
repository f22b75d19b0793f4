// C [m, n] (+)= A [m, k] * B [k, n] for whatever cuBLASLt refuses:
// any strides, any alignment, f32 sums, rounded once.
#include "kernels/cuda/device/launch.cuh"

namespace trine::cuda {
namespace {

constexpr int kTile = 16;

template <typename In, typename Out>
__global__ void plain_product_kernel(int64_t m, int64_t n, int64_t k, ConstMatrix a, ConstMatrix b, Rows c,
                                     bool accumulate) {
  __shared__ float a_tile[kTile][kTile + 1], b_tile[kTile][kTile + 1];
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int64_t j = int64_t{blockIdx.x} * kTile + x;
  for (int64_t row_tile = blockIdx.y; row_tile * kTile < m; row_tile += gridDim.y) {
    const int64_t i = row_tile * kTile + y;
    float sum = accumulate && i < m && j < n ? widen(row<Out>(c, i)[j]) : 0;
    for (int64_t first = 0; first < k; first += kTile) {
      const int64_t a_column = first + x, b_row = first + y;
      a_tile[y][x] = i < m && a_column < k
                         ? widen(static_cast<const In*>(a.data)[i * a.row_stride + a_column * a.column_stride])
                         : 0;
      b_tile[y][x] = b_row < k && j < n
                         ? widen(static_cast<const In*>(b.data)[b_row * b.row_stride + j * b.column_stride])
                         : 0;
      __syncthreads();
      for (int t = 0; t < kTile; ++t) sum = fmaf(a_tile[y][t], b_tile[t][x], sum);
      __syncthreads();
    }
    if (i < m && j < n) row<Out>(c, i)[j] = narrow<Out>(sum);
  }
}

}  // namespace

void plain_product(cudaStream_t stream, DType in, DType out, int64_t m, int64_t n, int64_t k, ConstMatrix a,
                   ConstMatrix b, Rows c, bool accumulate) {
  const dim3 grid(grid_blocks(ceil_div(n, kTile)),
                  static_cast<unsigned>(smaller(ceil_div(m, kTile), kMaxGridRows))),
      block(kTile, kTile);
  for_dtype(in, [&](auto in_type) {
    using In = decltype(in_type);
    if (out == DType::kF32)
      plain_product_kernel<In, float><<<grid, block, 0, stream>>>(m, n, k, a, b, c, accumulate);
    else
      plain_product_kernel<In, In><<<grid, block, 0, stream>>>(m, n, k, a, b, c, accumulate);
  });
  check_launch("plain_product");
}

}  // namespace trine::cuda
