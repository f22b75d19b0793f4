// Ops of which each element depends on the same element of the operands. T[n, d]: a thread for each pack.
#include <initializer_list>

#include "kernels/cuda/device/launch.cuh"

namespace trine::cuda {
namespace {

// Contiguous operands are one long row.
void flatten(int64_t& n, int64_t& d, std::initializer_list<int64_t*> strides) {
  for (const int64_t* stride : strides)
    if (n > 1 && *stride != d) return;
  d *= n;
  n = 1;
  for (int64_t* stride : strides) *stride = d;
}

template <typename T, bool whole>
__global__ void add_kernel(int64_t n, int64_t d, ConstRows a, ConstRows b, Rows y) {
  constexpr int N = kPack<T>;
  const int64_t j = item_of_row() * N;
  if (j >= d) return;
  for (int64_t i = blockIdx.y; i < n; i += gridDim.y) {
    const Values<N> left = load<whole, N>(row<T>(a, i) + j, d - j), right = load<whole, N>(row<T>(b, i) + j, d - j);
    Values<N> sum;
#pragma unroll
    for (int e = 0; e < N; ++e) sum[e] = left[e] + right[e];
    store<whole>(row<T>(y, i) + j, sum, d - j);
  }
}

template <typename From, typename To, bool whole>
__global__ void copy_kernel(int64_t n, int64_t d, ConstRows src, Rows dst) {
  constexpr int N = sizeof(From) < sizeof(To) ? kPack<From> : kPack<To>;
  const int64_t j = item_of_row() * N;
  if (j >= d) return;
  for (int64_t i = blockIdx.y; i < n; i += gridDim.y)
    store<whole>(row<To>(dst, i) + j, load<whole, N>(row<From>(src, i) + j, d - j), d - j);
}

template <bool whole>
__global__ void accumulate_kernel(int64_t n, float* acc, const float* x) {
  constexpr int N = kPack<float>;
  const int64_t j = item_of_row() * N;
  if (j >= n) return;
  const Values<N> old = load<whole, N>(acc + j, n - j), more = load<whole, N>(x + j, n - j);
  Values<N> sum;
#pragma unroll
  for (int e = 0; e < N; ++e) sum[e] = old[e] + more[e];
  store<whole>(acc + j, sum, n - j);
}

template <typename T>
__global__ void count_non_finite_kernel(int64_t n, int64_t d, ConstRows x, unsigned long long* count) {
  unsigned long long found = 0;
  for (int64_t i = blockIdx.y; i < n; i += gridDim.y)
    for (int64_t j = item_of_row(); j < d; j += int64_t{gridDim.x} * blockDim.x)
      found += (__float_as_uint(widen(row<T>(x, i)[j])) & 0x7f800000u) == 0x7f800000u;
  if (found != 0) atomicAdd(count, found);
}

// x / (1 + exp(-x))
__device__ float silu(float x) { return x / (1.0f + expf(-x)); }

template <typename T, bool whole>
__global__ void swiglu_kernel(int64_t n, int64_t f, ConstRows g, ConstRows u, Rows h) {
  constexpr int N = kPack<T>;
  const int64_t j = item_of_row() * N;
  if (j >= f) return;
  for (int64_t i = blockIdx.y; i < n; i += gridDim.y) {
    const Values<N> gate = load<whole, N>(row<T>(g, i) + j, f - j), up = load<whole, N>(row<T>(u, i) + j, f - j);
    Values<N> y;
#pragma unroll
    for (int e = 0; e < N; ++e) y[e] = silu(gate[e]) * up[e];
    store<whole>(row<T>(h, i) + j, y, f - j);
  }
}

template <typename T, bool whole>
__global__ void swiglu_grad_kernel(int64_t n, int64_t f, ConstRows g, ConstRows u, ConstRows dh, Rows dg, Rows du) {
  constexpr int N = kPack<T>;
  const int64_t j = item_of_row() * N;
  if (j >= f) return;
  for (int64_t i = blockIdx.y; i < n; i += gridDim.y) {
    const Values<N> gate = load<whole, N>(row<T>(g, i) + j, f - j), up = load<whole, N>(row<T>(u, i) + j, f - j),
                    dy = load<whole, N>(row<T>(dh, i) + j, f - j);
    Values<N> dgate, dup;
#pragma unroll
    for (int e = 0; e < N; ++e) {
      const float x = gate[e], sigmoid = 1.0f / (1.0f + expf(-x)), dys = dy[e] * sigmoid;
      dgate[e] = dys * up[e] * fmaf(x, 1.0f - sigmoid, 1.0f);
      dup[e] = dys * x;
    }
    store<whole>(row<T>(dg, i) + j, dgate, f - j);
    store<whole>(row<T>(du, i) + j, dup, f - j);
  }
}

}  // namespace

void add(cudaStream_t stream, DType dtype, int64_t n, int64_t d, ConstRows a, ConstRows b, Rows y) {
  flatten(n, d, {&a.stride, &b.stride, &y.stride});
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    for_packs(in_packs(a, d, sizeof(T)) && in_packs(b, d, sizeof(T)) && in_packs(y, d, sizeof(T)), [&](auto whole) {
      add_kernel<T, whole.value><<<rows_grid(n, ceil_div(d, kPack<T>)), kThreads, 0, stream>>>(n, d, a, b, y);
    });
  });
  check_launch("add");
}

void copy_rows(cudaStream_t stream, DType from, DType to, int64_t n, int64_t d, ConstRows src, Rows dst) {
  flatten(n, d, {&src.stride, &dst.stride});
  for_dtype(from, [&](auto from_type) {
    for_dtype(to, [&](auto to_type) {
      using From = decltype(from_type);
      using To = decltype(to_type);
      constexpr int N = sizeof(From) < sizeof(To) ? kPack<From> : kPack<To>;
      for_packs(in_packs(src, d, sizeof(From)) && in_packs(dst, d, sizeof(To)) && d % N == 0, [&](auto whole) {
        copy_kernel<From, To, whole.value><<<rows_grid(n, ceil_div(d, N)), kThreads, 0, stream>>>(n, d, src, dst);
      });
    });
  });
  check_launch("copy_rows");
}

void accumulate(cudaStream_t stream, int64_t n, float* acc, const float* x) {
  for_packs(in_packs(acc, n, 4) && in_packs(x, n, 4), [&](auto whole) {
    accumulate_kernel<whole.value><<<rows_grid(1, ceil_div(n, kPack<float>)), kThreads, 0, stream>>>(n, acc, x);
  });
  check_launch("accumulate");
}

void count_non_finite(cudaStream_t stream, DType dtype, int64_t n, int64_t d, ConstRows x,
                      unsigned long long* count) {
  for_dtype(dtype, [&](auto type) {
    dim3 grid = rows_grid(n, d);
    grid.x = grid.x < 2048 ? grid.x : 2048;
    count_non_finite_kernel<decltype(type)><<<grid, kThreads, 0, stream>>>(n, d, x, count);
  });
  check_launch("count_non_finite");
}

void swiglu(cudaStream_t stream, DType dtype, int64_t n, int64_t f, ConstRows g, ConstRows u, Rows h) {
  flatten(n, f, {&g.stride, &u.stride, &h.stride});
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    for_packs(in_packs(g, f, sizeof(T)) && in_packs(u, f, sizeof(T)) && in_packs(h, f, sizeof(T)), [&](auto whole) {
      swiglu_kernel<T, whole.value><<<rows_grid(n, ceil_div(f, kPack<T>)), kThreads, 0, stream>>>(n, f, g, u, h);
    });
  });
  check_launch("swiglu");
}

void swiglu_grad(cudaStream_t stream, DType dtype, int64_t n, int64_t f, ConstRows g, ConstRows u, ConstRows dh,
                 Rows dg, Rows du) {
  flatten(n, f, {&g.stride, &u.stride, &dh.stride, &dg.stride, &du.stride});
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    const bool aligned = in_packs(g, f, sizeof(T)) && in_packs(u, f, sizeof(T)) && in_packs(dh, f, sizeof(T)) &&
                         in_packs(dg, f, sizeof(T)) && in_packs(du, f, sizeof(T));
    for_packs(aligned, [&](auto whole) {
      swiglu_grad_kernel<T, whole.value>
          <<<rows_grid(n, ceil_div(f, kPack<T>)), kThreads, 0, stream>>>(n, f, g, u, dh, dg, du);
    });
  });
  check_launch("swiglu_grad");
}

}  // namespace trine::cuda
