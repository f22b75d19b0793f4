// The optimizer on flat f32 buckets: exact gradient norm, clipping, AdamW. Scalars are read from device memory.
#include <cmath>

#include "kernels/cuda/device/launch.cuh"

namespace trine::cuda {
namespace {

constexpr int kSums = 16;          // running sums per block of 256 elements
constexpr int kSumsPerThread = 4;  // neighbours: 16 bytes of each 64
constexpr int kThreadsPerNormBlock = kSums / kSumsPerThread;

// The sum of squares of block `block`, the same bits as the CPU's: sum l adds the squares of elements l, l + 16,
// ... in order, and the 16 sums fold in halves. Four neighbouring threads work on one block;
// the first gives the result.
template <bool whole>
__device__ float block_squares(int64_t n, const float* g, int64_t block, int part) {
  Values<kSumsPerThread> sums{};
  const int64_t first = block * kNormBlock + part * kSumsPerThread;
  constexpr int kSteps = kNormBlock / kSums;
  if (whole && (block + 1) * kNormBlock <= n) {
    Values<kSumsPerThread> x[kSteps];
#pragma unroll
    for (int step = 0; step < kSteps; ++step) x[step] = load<true, kSumsPerThread>(g + first + step * kSums, 0);
#pragma unroll
    for (int step = 0; step < kSteps; ++step)
#pragma unroll
      for (int e = 0; e < kSumsPerThread; ++e) sums[e] += x[step][e] * x[step][e];
  } else {
    for (int step = 0; step < kSteps; ++step) {
      const int64_t at = first + step * kSums;
      const Values<kSumsPerThread> x = load<false, kSumsPerThread>(g + at, n - at);
#pragma unroll
      for (int e = 0; e < kSumsPerThread; ++e) sums[e] += x[e] * x[e];
    }
  }
  for (int step = 2; step > 0; step /= 2)
#pragma unroll
    for (int e = 0; e < kSumsPerThread; ++e) sums[e] += __shfl_down_sync(0xffffffffu, sums[e], step, 4);
  return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

template <bool whole>
__global__ void squared_norm_kernel(int64_t n, const float* g, unsigned long long* bins) {
  __shared__ unsigned long long own[kNumBins];
  if (threadIdx.x < kNumBins) own[threadIdx.x] = 0;
  __syncthreads();
  constexpr int kBlocksAtOnce = kThreads / kThreadsPerNormBlock;
  const int part = static_cast<int>(threadIdx.x) % kThreadsPerNormBlock;
  const int64_t blocks = ceil_div(n, kNormBlock);
  // Whole warps stay in the loop together: their threads exchange sums.
  for (int64_t begin = int64_t{blockIdx.x} * kBlocksAtOnce; begin < blocks;
       begin += int64_t{gridDim.x} * kBlocksAtOnce) {
    const int64_t block = begin + threadIdx.x / kThreadsPerNormBlock;
    const float sum = block_squares<whole>(n, g, block, part);
    if (part != 0 || block >= blocks) continue;
    const BinTerm term = bin_term(sum);
    atomicAdd(&own[term.bin], static_cast<unsigned long long>(term.value));
  }
  __syncthreads();
  if (threadIdx.x < kNumBins && own[threadIdx.x] != 0) atomicAdd(&bins[threadIdx.x], own[threadIdx.x]);
}

struct BinSets {
  const int64_t* bins[kMaxBinSets];
  int count;
};

// The sum that bins hold: bin i counts units of 2^(4 i - 150). Infinity if a block's sum was not finite.
__device__ double value_of_bins(const BinSets& sets) {
  int64_t bins[kNumBins] = {};
  for (int set = 0; set < sets.count; ++set)
    for (int i = 0; i < kNumBins; ++i) bins[i] += sets.bins[set][i];
  if (bins[kNumBins - 1] != 0) return INFINITY;
  double sum = 0;
  for (int i = 0; i < kNumBins - 1; ++i) sum += ldexp(static_cast<double>(bins[i]), 4 * i - 150);
  return sum;
}

__global__ void clip_gradients_kernel(BinSets bins, double max_norm, const float* loss_scale, const float* loss,
                                      float* norm_out, float* factor, int32_t* apply_out, int32_t* adam_step) {
  const double scale = static_cast<double>(*loss_scale);
  const double norm = sqrt(value_of_bins(bins)) / scale;
  const bool apply = isfinite(norm) && isfinite(*loss);
  const double clip = max_norm > 0 ? fmin(1.0, max_norm / (norm + 1e-6)) : 1.0;
  *norm_out = static_cast<float>(norm);
  *factor = apply ? static_cast<float>(clip / scale) : 0.0f;
  *apply_out = apply;
  *adam_step += apply;
}

struct AdamWStep {
  float beta1, beta2, eps, decay, lr, bias_correction1, bias_correction2, grad_scale;
};

template <typename T, bool whole>
__device__ __forceinline__ void adamw_pack(const AdamWStep& a, int64_t count, float* master, float* m, float* v,
                                           const float* grad, T* compute) {
  constexpr int N = kPack<T>;
  const float rest1 = 1.0f - a.beta1, rest2 = 1.0f - a.beta2;
  const Values<N> g = load<whole, N>(grad, count), old_m = load<whole, N>(m, count),
                  old_v = load<whole, N>(v, count), p = load<whole, N>(master, count);
  Values<N> new_m, new_v, updated;
#pragma unroll
  for (int e = 0; e < N; ++e) {
    const float scaled = g[e] * a.grad_scale;
    new_m[e] = fmaf(a.beta1, old_m[e], rest1 * scaled);
    new_v[e] = fmaf(a.beta2, old_v[e], rest2 * scaled * scaled);
    const float step = (new_m[e] / a.bias_correction1) / (sqrtf(new_v[e] / a.bias_correction2) + a.eps);
    updated[e] = fmaf(-a.lr, step, fmaf(-a.decay, p[e], p[e]));
  }
  store<whole>(m, new_m, count);
  store<whole>(v, new_v, count);
  store<whole>(master, updated, count);
  store<whole>(compute, updated, count);
}

// A pack is as many elements as 16 bytes of the compute type hold, and so one or two 16-byte pieces of each f32.
template <typename T, bool whole>
__global__ void adamw_kernel(int64_t n, AdamWParameters parameters, const float* lr, const float* factor,
                             const int32_t* apply, const int32_t* adam_step, const float* grad, float* master,
                             float* m, float* v, T* compute) {
  if (*apply == 0) return;
  constexpr int N = kPack<T>;
  __shared__ float corrections[2];
  if (threadIdx.x < 2) {  // in f64 once a block, not once a thread
    const double beta = static_cast<double>(threadIdx.x == 0 ? parameters.beta1 : parameters.beta2);
    corrections[threadIdx.x] = static_cast<float>(1 - pow(beta, static_cast<double>(*adam_step)));
  }
  __syncthreads();
  const AdamWStep a{parameters.beta1, parameters.beta2, parameters.eps, *lr * parameters.weight_decay, *lr,
                    corrections[0],   corrections[1],   *factor};
  const int64_t step = int64_t{gridDim.x} * kThreads * N;
  for (int64_t j = item_of_row() * N; j < n; j += step) {
    const int64_t count = n - j;
    // What is left of an aligned array whose length is no multiple of a pack goes element by element.
    if (whole && count >= N)
      adamw_pack<T, true>(a, count, master + j, m + j, v + j, grad + j, compute + j);
    else
      adamw_pack<T, false>(a, count, master + j, m + j, v + j, grad + j, compute + j);
  }
}

bool aligned(const void* p) { return in_packs(p, 0, 1); }

}  // namespace

void squared_norm_bins(cudaStream_t stream, int64_t n, const float* g, int64_t* bins) {
  const unsigned blocks = walking_blocks(ceil_div(n, kNormBlock) * kThreadsPerNormBlock);
  for_packs(aligned(g), [&](auto whole) {
    squared_norm_kernel<whole.value>
        <<<blocks, kThreads, 0, stream>>>(n, g, reinterpret_cast<unsigned long long*>(bins));
  });
  check_launch("squared_norm");
}

void clip_gradients(cudaStream_t stream, std::span<const int64_t* const> bins, double max_norm,
                    const float* loss_scale, const float* loss, float* norm, float* factor, int32_t* apply,
                    int32_t* adam_step) {
  BinSets sets{};
  for (const int64_t* set : bins) sets.bins[sets.count++] = set;
  clip_gradients_kernel<<<1, 1, 0, stream>>>(sets, max_norm, loss_scale, loss, norm, factor, apply, adam_step);
  check_launch("clip_gradients");
}

void adamw(cudaStream_t stream, DType compute_dtype, int64_t n, const AdamWParameters& parameters, const float* lr,
           const float* factor, const int32_t* apply, const int32_t* step, const float* grad, float* master,
           float* m, float* v, void* compute) {
  for_dtype(compute_dtype, [&](auto type) {
    using T = decltype(type);
    const bool whole_packs = aligned(grad) && aligned(master) && aligned(m) && aligned(v) && aligned(compute);
    for_packs(whole_packs, [&](auto whole) {
      adamw_kernel<T, whole.value><<<walking_blocks(ceil_div(n, kPack<T>)), kThreads, 0, stream>>>(
          n, parameters, lr, factor, apply, step, grad, master, m, v, static_cast<T*>(compute));
    });
  });
  check_launch("adamw");
}

}  // namespace trine::cuda
