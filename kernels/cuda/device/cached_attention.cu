// Attention of a few new tokens over kept keys and values.
//   q, o T[n, heads * head_dim]   k, v T[n, kv_heads * head_dim]   keys, values T[max_seq, kv_heads * head_dim]
#include <limits>

#include "kernels/cuda/device/launch.cuh"
#include "kernels/cuda/device/reduce.cuh"

namespace trine::cuda {
namespace {

constexpr int kKeys = 128;  // threads, and keys at once

template <typename T>
__global__ void append_kernel(int64_t n, int64_t columns, int64_t max_seq, ConstRows k, ConstRows v,
                              const int32_t* position, Rows keys, Rows values) {
  const int64_t j = item_of_row(), first = *position;
  require(first >= 0 && first + n <= max_seq);
  if (j >= columns) return;
  for (int64_t i = blockIdx.y; i < n; i += gridDim.y) {
    row<T>(keys, first + i)[j] = row<T>(k, i)[j];
    row<T>(values, first + i)[j] = row<T>(v, i)[j];
  }
}

__device__ float block_max(float x, float* scratch) {
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, step));
  __syncthreads();  // of an earlier maximum, scratch is read
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  x = scratch[0];
  for (int warp = 1; warp < kKeys / 32; ++warp) x = fmaxf(x, scratch[warp]);
  return x;
}

// A block: one token, one head. Each thread scores a key of a stretch, then sums columns over the stretch.
template <typename T>
__global__ void cached_attention_kernel(int group, int head_dim, float scale, ConstRows q, const int32_t* position,
                                        ConstRows keys, ConstRows values, Rows o) {
  extern __shared__ float shared[];  // query [head_dim], sums [head_dim], probabilities [kKeys]
  __shared__ float scratch[32];
  float *const query = shared, *const sums = query + head_dim, *const probabilities = sums + head_dim;
  const int64_t token = blockIdx.x, head = blockIdx.y, column = head / group * head_dim;
  const int64_t num_keys = *position + token + 1;
  const int thread = static_cast<int>(threadIdx.x);
  for (int j = thread; j < head_dim; j += kKeys) {
    query[j] = widen(row<T>(q, token)[head * head_dim + j]);
    sums[j] = 0;
  }
  __syncthreads();
  float highest = -std::numeric_limits<float>::infinity(), total = 0;
  for (int64_t first = 0; first < num_keys; first += kKeys) {
    const int64_t key = first + thread;
    float score = -std::numeric_limits<float>::infinity();
    if (key < num_keys) {
      const T* const x = row<T>(keys, key) + column;
      float sum = 0;
      for (int j = 0; j < head_dim; ++j) sum = fmaf(query[j], widen(x[j]), sum);
      score = sum * scale;
    }
    const float top = fmaxf(highest, block_max(score, scratch));
    const float factor = expf(highest - top), probability = expf(score - top);
    highest = top;
    probabilities[thread] = probability;
    total = total * factor + block_sum(probability, scratch);  // its barriers: probabilities are there
    const int count = static_cast<int>(smaller(kKeys, num_keys - first));
    for (int j = thread; j < head_dim; j += kKeys) {
      float sum = sums[j] * factor;
      for (int i = 0; i < count; ++i)
        sum = fmaf(probabilities[i], widen(row<T>(values, first + i)[column + j]), sum);
      sums[j] = sum;
    }
    __syncthreads();  // probabilities are read
  }
  for (int j = thread; j < head_dim; j += kKeys) row<T>(o, token)[head * head_dim + j] = narrow<T>(sums[j] / total);
}

}  // namespace

void cached_attention(cudaStream_t stream, DType dtype, int64_t n, int heads, int kv_heads, int head_dim,
                      int64_t max_seq, ConstRows q, ConstRows k, ConstRows v, const int32_t* position, Rows keys,
                      Rows values, Rows o) {
  const int64_t columns = int64_t{kv_heads} * head_dim;
  const size_t bytes = static_cast<size_t>(2 * head_dim + kKeys) * sizeof(float);
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    append_kernel<T>
        <<<rows_grid(n, columns), kThreads, 0, stream>>>(n, columns, max_seq, k, v, position, keys, values);
    check_launch("cached_attention's append");
    cached_attention_kernel<T><<<dim3(grid_blocks(n), static_cast<unsigned>(heads)), kKeys, bytes, stream>>>(
        heads / kv_heads, head_dim, 1 / std::sqrt(static_cast<float>(head_dim)), q, position,
        {keys.data, keys.stride}, {values.data, values.stride}, o);
  });
  check_launch("cached_attention");
}

}  // namespace trine::cuda
