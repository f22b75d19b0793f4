// x, a, b, sum, y, dy, residual, dx T[n, d]   w T[d]   rstd f32[n]   dw f32[d].
// A block of threads walks over a row in packs.
#include "kernels/cuda/device/launch.cuh"
#include "kernels/cuda/device/reduce.cuh"

namespace trine::cuda {
namespace {

// Shared memory for the sums of a block's rows; longer rows are summed in the scratch itself.
constexpr int64_t kMaxSharedSums = 10240;

// What a load of the stored values would give.
template <typename T, int N>
__device__ __forceinline__ Values<N> rounded(Values<N> x) {
#pragma unroll
  for (int e = 0; e < N; ++e) x[e] = widen(narrow<T>(x[e]));
  return x;
}

// With `adds`, x is the sum a + b, which is stored first; a thread reads back what it stored itself.
template <typename T, bool whole, bool adds>
__global__ void rms_norm_kernel(int64_t d, float eps, ConstRows a, ConstRows b, Rows sum, const T* w, Rows y,
                                float* rstd) {
  constexpr int N = kPack<T>;
  __shared__ float scratch[32];
  const int64_t i = blockIdx.x, step = int64_t{blockDim.x} * N, first = int64_t{threadIdx.x} * N;
  const T* const xi = adds ? row<T>(sum, i) : row<T>(a, i);
  float squares = 0;
  for (int64_t j = first; j < d; j += step) {
    Values<N> v = load<whole, N>(row<T>(a, i) + j, d - j);
    if constexpr (adds) {
      const Values<N> other = load<whole, N>(row<T>(b, i) + j, d - j);
#pragma unroll
      for (int e = 0; e < N; ++e) v[e] += other[e];
      v = rounded<T>(v);
      store<whole>(row<T>(sum, i) + j, v, d - j);
    }
#pragma unroll
    for (int e = 0; e < N; ++e) squares += v[e] * v[e];
  }
  const float scale = 1.0f / sqrtf(block_sum(squares, scratch) / static_cast<float>(d) + eps);
  T* const yi = row<T>(y, i);
  for (int64_t j = first; j < d; j += step) {
    Values<N> v = load<whole, N>(xi + j, d - j);
    const Values<N> weight = load<whole, N>(w + j, d - j);
#pragma unroll
    for (int e = 0; e < N; ++e) v[e] = v[e] * scale * weight[e];
    store<whole>(yi + j, v, d - j);
  }
  if (threadIdx.x == 0) rstd[i] = scale;
}

// A block of rows gives a row of `partial` [blocks, d]. A thread owns its columns in all rows, and sums them in
// shared memory, neighbouring threads in different banks.
template <typename T, bool whole, bool adds>
__global__ void rms_norm_grad_kernel(int64_t n, int64_t d, int64_t rows_per_block, bool in_shared, ConstRows x,
                                     const T* w, const float* rstd, ConstRows dy, ConstRows residual, Rows dx,
                                     float* partial) {
  constexpr int N = kPack<T>;
  extern __shared__ float shared_sums[];
  __shared__ float scratch[32];
  const int64_t step = int64_t{blockDim.x} * N, first = int64_t{threadIdx.x} * N;
  float* const own = partial + int64_t{blockIdx.x} * d;
  const auto sum_of = [&](int64_t j, int e) -> float& {
    return in_shared ? shared_sums[norm_sum_slot(j, e, threadIdx.x, blockDim.x, N)] : own[j + e];
  };
  for (int64_t j = first; j < d; j += step)
    for (int e = 0; e < N && j + e < d; ++e) sum_of(j, e) = 0;
  const int64_t begin = int64_t{blockIdx.x} * rows_per_block, end = smaller(n, begin + rows_per_block);
  for (int64_t i = begin; i < end; ++i) {
    const T *const xi = row<T>(x, i), *const dyi = row<T>(dy, i);
    float dot = 0;
    for (int64_t j = first; j < d; j += step) {
      const Values<N> xj = load<whole, N>(xi + j, d - j), dyj = load<whole, N>(dyi + j, d - j),
                      wj = load<whole, N>(w + j, d - j);
#pragma unroll
      for (int e = 0; e < N; ++e) dot += wj[e] * dyj[e] * xj[e];
    }
    dot = block_sum(dot, scratch);
    const float r = rstd[i], toward_x = -(dot / static_cast<float>(d)) * r * r * r;
    T* const dxi = row<T>(dx, i);
    for (int64_t j = first; j < d; j += step) {
      const Values<N> xj = load<whole, N>(xi + j, d - j), dyj = load<whole, N>(dyi + j, d - j),
                      wj = load<whole, N>(w + j, d - j);
      Values<N> dxj;
#pragma unroll
      for (int e = 0; e < N; ++e) {
        if (whole || j + e < d) {
          float& sum = sum_of(j, e);
          sum = fmaf(dyj[e], xj[e] * r, sum);
        }
        dxj[e] = fmaf(xj[e], toward_x, wj[e] * dyj[e] * r);
      }
      if constexpr (adds) {
        const Values<N> other = load<whole, N>(row<T>(residual, i) + j, d - j);
        dxj = rounded<T>(dxj);
#pragma unroll
        for (int e = 0; e < N; ++e) dxj[e] += other[e];
      }
      store<whole>(dxi + j, dxj, d - j);
    }
  }
  if (!in_shared) return;
  for (int64_t j = first; j < d; j += step)
    for (int e = 0; e < N && j + e < d; ++e) own[j + e] = sum_of(j, e);
}

// dw = the sum of partial's rows: 8 warps, each for every eighth row of 32 columns, then their sums in order.
__global__ void sum_rows_kernel(int64_t rows, int64_t d, const float* partial, float* dw) {
  __shared__ float sums[kThreads / 32][32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t j = int64_t{blockIdx.x} * 32 + lane;
  float sum = 0;
  if (j < d)
    for (int64_t i = warp; i < rows; i += kThreads / 32) sum += partial[i * d + j];
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || j >= d) return;
  for (int other = 1; other < kThreads / 32; ++other) sum += sums[other][lane];
  dw[j] = sum;
}

// Threads for a row of d elements, in warps.
int row_threads(int64_t d, int pack) {
  return static_cast<int>(smaller(kThreads, ceil_div(ceil_div(d, pack), 32) * 32));
}

}  // namespace

void rms_norm(cudaStream_t stream, DType dtype, int64_t n, int64_t d, float eps, ConstRows x, const void* w, Rows y,
              float* rstd) {
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    for_packs(in_packs(x, d, sizeof(T)) && in_packs(y, d, sizeof(T)) && in_packs(w, d, sizeof(T)), [&](auto whole) {
      rms_norm_kernel<T, whole.value, false><<<grid_blocks(n), row_threads(d, kPack<T>), 0, stream>>>(
          d, eps, x, {}, {}, static_cast<const T*>(w), y, rstd);
    });
  });
  check_launch("rms_norm");
}

void add_rms_norm(cudaStream_t stream, DType dtype, int64_t n, int64_t d, float eps, ConstRows a, ConstRows b,
                  const void* w, Rows sum, Rows y, float* rstd) {
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    const bool aligned = in_packs(a, d, sizeof(T)) && in_packs(b, d, sizeof(T)) && in_packs(sum, d, sizeof(T)) &&
                         in_packs(y, d, sizeof(T)) && in_packs(w, d, sizeof(T));
    for_packs(aligned, [&](auto whole) {
      rms_norm_kernel<T, whole.value, true><<<grid_blocks(n), row_threads(d, kPack<T>), 0, stream>>>(
          d, eps, a, b, sum, static_cast<const T*>(w), y, rstd);
    });
  });
  check_launch("add_rms_norm");
}

size_t rms_norm_grad_scratch_bytes(int64_t n, int64_t d) {
  return static_cast<size_t>(ceil_div(n, norm_rows_per_block(n)) * d) * sizeof(float);
}

void rms_norm_grad(cudaStream_t stream, DType dtype, int64_t n, int64_t d, ConstRows x, const void* w,
                   const float* rstd, ConstRows dy, ConstRows residual, Rows dx, float* dw, void* scratch) {
  const int64_t rows_per_block = norm_rows_per_block(n), blocks = ceil_div(n, rows_per_block);
  float* const partial = static_cast<float*>(scratch);
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    const bool adds = residual.data != nullptr;
    const bool aligned = in_packs(x, d, sizeof(T)) && in_packs(dy, d, sizeof(T)) && in_packs(dx, d, sizeof(T)) &&
                         in_packs(w, d, sizeof(T)) && (!adds || in_packs(residual, d, sizeof(T)));
    const int threads = row_threads(d, kPack<T>);
    const int64_t slots = ceil_div(d, threads * kPack<T>) * threads * kPack<T>;
    const bool in_shared = slots <= kMaxSharedSums;
    const size_t shared_bytes = in_shared ? static_cast<size_t>(slots) * sizeof(float) : 0;
    for_packs(aligned, [&](auto whole) {
      const auto kernel =
          adds ? rms_norm_grad_kernel<T, whole.value, true> : rms_norm_grad_kernel<T, whole.value, false>;
      kernel<<<grid_blocks(blocks), threads, shared_bytes, stream>>>(
          n, d, rows_per_block, in_shared, x, static_cast<const T*>(w), rstd, dy, residual, dx, partial);
    });
  });
  check_launch("rms_norm_grad");
  sum_rows_kernel<<<grid_blocks(ceil_div(d, 32)), kThreads, 0, stream>>>(blocks, d, partial, dw);
  check_launch("rms_norm_grad's sum");
}

}  // namespace trine::cuda
