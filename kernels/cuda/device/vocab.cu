// The loss over the vocabulary: logits T[n, v], the columns [first_column, first_column + v) of it; labels i32[n];
// stats f32[parts, n, 3] = (max, sum of exp(x - max), logit of the label or 0).
#include <limits>

#include "kernels/cuda/device/launch.cuh"
#include "kernels/cuda/device/reduce.cuh"

namespace trine::cuda {
namespace {

constexpr int kRowThreads = 512;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// exp, as exactly as the logits deserve: the fast one is within 1e-6 where a 16-bit logit says something.
template <typename T>
__device__ __forceinline__ float exp_of_logit(float x) {
  return __expf(x);
}
template <>
__device__ __forceinline__ float exp_of_logit<float>(float x) {
  return expf(x);
}

// A running maximum and the sum of exp(x - maximum); (-inf, 0) of nothing.
// A NaN is no maximum, but makes the sum NaN.
struct Softmax {
  float max, sum;
};
__device__ __forceinline__ Softmax merge(Softmax a, Softmax b) {
  const float max = fmaxf(a.max, b.max);
  const float left = a.max == max ? a.sum : a.sum * expf(a.max - max);
  const float right = b.max == max ? b.sum : b.sum * expf(b.max - max);
  return {max, left + right};
}
__device__ Softmax block_merge(Softmax x, Softmax* scratch) {
  const auto warp_merge = [](Softmax s) {
    for (int step = 16; step > 0; step /= 2)
      s = merge(s, {__shfl_xor_sync(kAllLanes, s.max, step), __shfl_xor_sync(kAllLanes, s.sum, step)});
    return s;
  };
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  x = warp_merge(x);
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  return warp_merge(lane < kRowThreads / 32 ? scratch[lane] : Softmax{-kInfinity, 0});
}

// The column of this rank at which the label stands, or -1.
__device__ __forceinline__ int64_t label_column(int32_t label, int64_t first_column, int64_t v) {
  const int64_t column = label - first_column;
  return label >= 0 && column >= 0 && column < v ? column : -1;
}

template <typename T, bool whole>
__global__ void vocab_stats_kernel(int64_t v, ConstRows logits, const int32_t* labels, int64_t first_column,
                                   float* stats) {
  constexpr int N = kPack<T>;
  __shared__ Softmax scratch[32];
  const int64_t i = blockIdx.x;
  const T* const x = row<T>(logits, i);
  Softmax own{-kInfinity, 0};
  for (int64_t j = int64_t{threadIdx.x} * N; j < v; j += int64_t{kRowThreads} * N) {
    const Values<N> pack = load<whole, N>(x + j, v - j);
    const int count = static_cast<int>(smaller(N, v - j));
    float top = -kInfinity;
#pragma unroll
    for (int e = 0; e < N; ++e)
      if (whole || e < count) top = fmaxf(top, pack[e]);
    if (top > own.max) {
      own.sum *= exp_of_logit<T>(own.max - top);
      own.max = top;
    }
#pragma unroll
    for (int e = 0; e < N; ++e)
      if (whole || e < count) own.sum += exp_of_logit<T>(pack[e] - own.max);
  }
  const Softmax all = block_merge(own, scratch);
  if (threadIdx.x != 0) return;
  const int64_t label = label_column(labels[i], first_column, v);
  stats[3 * i] = all.max;
  stats[3 * i + 1] = all.sum;
  stats[3 * i + 2] = label >= 0 ? widen(x[label]) : 0;
}

// dlogits may be logits: each thread stores where it has loaded.
template <typename T, bool whole>
__global__ void vocab_stats_grad_kernel(int64_t v, ConstRows logits, const float* stats, const float* dstats,
                                        const int32_t* labels, int64_t first_column, Rows dlogits) {
  constexpr int N = kPack<T>;
  const int64_t i = blockIdx.x;
  const float* const d = dstats + 3 * i;
  const float highest = stats[3 * i], scale = d[1], at_label = d[2];
  const bool zero = d[0] == 0 && scale == 0 && at_label == 0;
  const int64_t label = label_column(labels[i], first_column, v);
  const T* const x = row<T>(logits, i);
  T* const dx = row<T>(dlogits, i);
  for (int64_t j = int64_t{threadIdx.x} * N; j < v; j += int64_t{kRowThreads} * N) {
    Values<N> y{};
    if (!zero) {
      const Values<N> pack = load<whole, N>(x + j, v - j);
#pragma unroll
      for (int e = 0; e < N; ++e) {
        y[e] = scale * exp_of_logit<T>(pack[e] - highest);
        if (j + e == label) y[e] += at_label;
      }
    }
    store<whole>(dx + j, y, v - j);
  }
}

// What one token's label has in all parts of the vocabulary, combined in rank order.
struct Combined {
  float max, sum, target;
};
__device__ Combined combine(const float* stats, int64_t parts, int64_t tokens, int64_t n) {
  const auto part_row = [&](int64_t part) { return stats + (part * tokens + n) * 3; };
  Combined c{part_row(0)[0], 0, 0};
  for (int64_t part = 1; part < parts; ++part) c.max = fmaxf(c.max, part_row(part)[0]);
  for (int64_t part = 0; part < parts; ++part) {
    c.sum += part_row(part)[1] * expf(part_row(part)[0] - c.max);
    c.target += part_row(part)[2];
  }
  return c;
}

// One block: the sum over tokens in f64, in an order that depends on their number alone.
__global__ void cross_entropy_kernel(int64_t parts, int64_t tokens, const float* stats, const int32_t* labels,
                                     float* loss) {
  __shared__ double scratch[32];
  double sum = 0;
  for (int64_t n = threadIdx.x; n < tokens; n += blockDim.x) {
    if (labels[n] < 0) continue;
    const Combined c = combine(stats, parts, tokens, n);
    sum += static_cast<double>(c.max) + log(static_cast<double>(c.sum)) - static_cast<double>(c.target);
  }
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) *loss = static_cast<float>(sum);
}

__global__ void cross_entropy_grad_kernel(int64_t parts, int64_t tokens, const float* stats, const int32_t* labels,
                                          const float* dloss, float* dstats) {
  const int64_t n = item_of_row();
  if (n >= tokens) return;
  const float seed = *dloss;
  const bool counts = labels[n] >= 0;
  const Combined c = combine(stats, parts, tokens, n);
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t at = (part * tokens + n) * 3;
    dstats[at] = 0;  // the max is a constant
    dstats[at + 1] = counts ? seed * expf(stats[at] - c.max) / c.sum : 0;
    dstats[at + 2] = counts ? -seed : 0;
  }
}

}  // namespace

void vocab_stats(cudaStream_t stream, DType dtype, int64_t n, int64_t v, ConstRows logits, const int32_t* labels,
                 int64_t first_column, float* stats) {
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    for_packs(in_packs(logits, v, sizeof(T)), [&](auto whole) {
      vocab_stats_kernel<T, whole.value>
          <<<grid_blocks(n), kRowThreads, 0, stream>>>(v, logits, labels, first_column, stats);
    });
  });
  check_launch("vocab_stats");
}

void vocab_stats_grad(cudaStream_t stream, DType dtype, int64_t n, int64_t v, ConstRows logits, const float* stats,
                      const float* dstats, const int32_t* labels, int64_t first_column, Rows dlogits) {
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    for_packs(in_packs(logits, v, sizeof(T)) && in_packs(dlogits, v, sizeof(T)), [&](auto whole) {
      vocab_stats_grad_kernel<T, whole.value>
          <<<grid_blocks(n), kRowThreads, 0, stream>>>(v, logits, stats, dstats, labels, first_column, dlogits);
    });
  });
  check_launch("vocab_stats_grad");
}

void cross_entropy(cudaStream_t stream, int64_t parts, int64_t n, const float* stats, const int32_t* labels,
                   float* loss) {
  cross_entropy_kernel<<<1, 1024, 0, stream>>>(parts, n, stats, labels, loss);
  check_launch("cross_entropy");
}

void cross_entropy_grad(cudaStream_t stream, int64_t parts, int64_t n, const float* stats, const int32_t* labels,
                        const float* dloss, float* dstats) {
  cross_entropy_grad_kernel<<<grid_blocks(ceil_div(n, kThreads)), kThreads, 0, stream>>>(parts, n, stats, labels,
                                                                                         dloss, dstats);
  check_launch("cross_entropy_grad");
}

}  // namespace trine::cuda
