// Causal attention in f32 without cuDNN: for f32 models, and wherever cuDNN has no kernel. Plain: tiles of queries
// and keys in shared memory, no tensor cores, no atomics.
//   q, o, do, dq T[B * S, H * D]   k, v, dk, dv T[B * S, G * D]   lse, delta f32[B * S, H]
// A block has 256 threads; kThreads / tile neighbouring threads (of one warp) own a row of a tile.
#include <limits>

#include "kernels/cuda/device/launch.cuh"
#include "kernels/cuda/device/reduce.cuh"

namespace trine::cuda {
namespace {

struct Problem {
  int64_t seq;
  int heads, group, head_dim, tile;  // group: query heads of a kv head
  float scale;
  __device__ __forceinline__ int row_stride() const {
    return head_dim + 1;
  }  // of tiles: columns in different banks
  __device__ __forceinline__ int tile_floats() const { return tile * row_stride(); }
};

// tile[r][j] = m[first + r][column + j] for rows before `rows`, else 0.
template <typename T>
__device__ void load_tile(const Problem& p, float* tile, ConstRows m, int64_t first, int64_t rows, int64_t column) {
  for (int e = static_cast<int>(threadIdx.x); e < p.tile * p.head_dim; e += kThreads) {
    const int r = e / p.head_dim, j = e % p.head_dim;
    tile[r * p.row_stride() + j] = r < rows ? widen(row<T>(m, first + r)[column + j]) : 0;
  }
}

__device__ void clear_tile(const Problem& p, float* tile) {
  for (int e = static_cast<int>(threadIdx.x); e < p.tile_floats(); e += kThreads) tile[e] = 0;
}

template <typename T>
__device__ void store_tile(const Problem& p, const float* tile, Rows m, int64_t first, int64_t rows,
                           int64_t column) {
  for (int e = static_cast<int>(threadIdx.x); e < p.tile * p.head_dim; e += kThreads) {
    const int r = e / p.head_dim, j = e % p.head_dim;
    if (r < rows) row<T>(m, first + r)[column + j] = narrow<T>(tile[r * p.row_stride() + j]);
  }
}

__device__ __forceinline__ float dot(const Problem& p, const float* a, int a_row, const float* b, int b_row) {
  const float *x = a + a_row * p.row_stride(), *y = b + b_row * p.row_stride();
  float sum = 0;
  for (int j = 0; j < p.head_dim; ++j) sum = fmaf(x[j], y[j], sum);
  return sum;
}

// The threads of a row, and this thread among them.
struct RowThreads {
  int row, lane, lanes;
  __device__ explicit RowThreads(const Problem& p)
      : row(static_cast<int>(threadIdx.x) / (kThreads / p.tile)),
        lane(static_cast<int>(threadIdx.x) % (kThreads / p.tile)),
        lanes(kThreads / p.tile) {}
  __device__ float max(float x) const {
    for (int step = lanes / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, step));
    return x;
  }
  __device__ float sum(float x) const {
    for (int step = lanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
    return x;
  }
};

// A block: a tile of queries of one head. Tiles with many keys come first.
template <typename T>
__global__ void forward_kernel(Problem p, ConstRows q, ConstRows k, ConstRows v, Rows o, float* lse) {
  extern __shared__ float shared[];
  float *const queries = shared, *const keys = queries + p.tile_floats(), *const values = keys + p.tile_floats(),
               *const sums = values + p.tile_floats(), *const scores = sums + p.tile_floats();
  const int score_stride = p.tile + 1;
  const int64_t tiles = ceil_div(p.seq, p.tile), tile = tiles - 1 - blockIdx.x % tiles, head = blockIdx.y,
                kv_head = head / p.group, sequence = blockIdx.x / tiles * p.seq, first = tile * p.tile,
                rows = smaller(p.tile, p.seq - first);
  load_tile<T>(p, queries, q, sequence + first, rows, head * p.head_dim);
  clear_tile(p, sums);
  const RowThreads own(p);
  float* const own_scores = scores + own.row * score_stride;
  float* const own_sums = sums + own.row * p.row_stride();
  float highest = -std::numeric_limits<float>::infinity(), total = 0;
  for (int64_t key_tile = 0; key_tile <= tile; ++key_tile) {
    const int64_t first_key = key_tile * p.tile, num_keys = smaller(p.tile, p.seq - first_key);
    __syncthreads();  // the tiles before are read
    load_tile<T>(p, keys, k, sequence + first_key, num_keys, kv_head * p.head_dim);
    load_tile<T>(p, values, v, sequence + first_key, num_keys, kv_head * p.head_dim);
    __syncthreads();
    for (int e = static_cast<int>(threadIdx.x); e < p.tile * p.tile; e += kThreads) {
      const ScoreItem at = score_item(e, p.tile);
      scores[at.query * score_stride + at.key] = visible(first + at.query, first_key + at.key)
                                                     ? dot(p, queries, at.query, keys, at.key) * p.scale
                                                     : -std::numeric_limits<float>::infinity();
    }
    __syncthreads();
    float top = highest;  // finite after the first tile: every query sees key 0
    for (int key = own.lane; key < p.tile; key += own.lanes) top = fmaxf(top, own_scores[key]);
    top = own.max(top);
    const float factor = expf(highest - top);
    float added = 0;
    for (int key = own.lane; key < p.tile; key += own.lanes) {
      const float probability = expf(own_scores[key] - top);
      own_scores[key] = probability;
      added += probability;
    }
    total = total * factor + own.sum(added);
    highest = top;
    __syncwarp();
    for (int j = own.lane; j < p.head_dim; j += own.lanes) {
      float sum = own_sums[j] * factor;
      for (int key = 0; key < p.tile; ++key) sum = fmaf(own_scores[key], values[key * p.row_stride() + j], sum);
      own_sums[j] = sum;
    }
  }
  for (int j = own.lane; j < p.head_dim; j += own.lanes) own_sums[j] /= total;
  if (own.lane == 0 && own.row < rows) lse[(sequence + first + own.row) * p.heads + head] = highest + logf(total);
  __syncthreads();
  store_tile<T>(p, sums, o, sequence + first, rows, head * p.head_dim);
}

// delta = sum over a head's dim of o * do. A warp for each (token, head).
template <typename T>
__global__ void delta_kernel(Problem p, int64_t tokens, ConstRows o, ConstRows dout, float* delta) {
  const int64_t item = item_of_row() / 32, token = item / p.heads, head = item % p.heads;
  if (token >= tokens) return;
  float sum = 0;
  for (int64_t j = threadIdx.x % 32; j < p.head_dim; j += 32)
    sum = fmaf(widen(row<T>(o, token)[head * p.head_dim + j]), widen(row<T>(dout, token)[head * p.head_dim + j]),
               sum);
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) delta[item] = sum;
}

// Of the scores of a tile: the probabilities (if wanted) and the gradients of the scores, times the scale.
__device__ void score_gradients(const Problem& p, const float* queries, const float* gradients, const float* keys,
                                const float* values, int64_t first, int64_t rows, int64_t first_key,
                                const float* lse, const float* delta, float* probabilities, float* dscores) {
  for (int e = static_cast<int>(threadIdx.x); e < p.tile * p.tile; e += kThreads) {
    const ScoreItem at = score_item(e, p.tile);
    float probability = 0, dscore = 0;
    if (at.query < rows && visible(first + at.query, first_key + at.key)) {
      const int64_t token = at.query * int64_t{p.heads};
      probability = expf(dot(p, queries, at.query, keys, at.key) * p.scale - lse[token]);
      dscore = probability * (dot(p, gradients, at.query, values, at.key) - delta[token]) * p.scale;
    }
    if (probabilities != nullptr) probabilities[at.query * (p.tile + 1) + at.key] = probability;
    dscores[at.query * (p.tile + 1) + at.key] = dscore;
  }
}

// A block: dq of a tile of queries of one head.
template <typename T>
__global__ void grad_queries_kernel(Problem p, ConstRows q, ConstRows k, ConstRows v, const float* lse,
                                    const float* delta, ConstRows dout, Rows dq) {
  extern __shared__ float shared[];
  float *const queries = shared, *const gradients = queries + p.tile_floats(),
               *const keys = gradients + p.tile_floats(), *const values = keys + p.tile_floats(),
               *const sums = values + p.tile_floats(), *const dscores = sums + p.tile_floats();
  const int64_t tiles = ceil_div(p.seq, p.tile), tile = tiles - 1 - blockIdx.x % tiles, head = blockIdx.y,
                kv_head = head / p.group, sequence = blockIdx.x / tiles * p.seq, first = tile * p.tile,
                rows = smaller(p.tile, p.seq - first);
  const int64_t statistic = (sequence + first) * p.heads + head;
  load_tile<T>(p, queries, q, sequence + first, rows, head * p.head_dim);
  load_tile<T>(p, gradients, dout, sequence + first, rows, head * p.head_dim);
  clear_tile(p, sums);
  const RowThreads own(p);
  for (int64_t key_tile = 0; key_tile <= tile; ++key_tile) {
    const int64_t first_key = key_tile * p.tile, num_keys = smaller(p.tile, p.seq - first_key);
    __syncthreads();
    load_tile<T>(p, keys, k, sequence + first_key, num_keys, kv_head * p.head_dim);
    load_tile<T>(p, values, v, sequence + first_key, num_keys, kv_head * p.head_dim);
    __syncthreads();
    score_gradients(p, queries, gradients, keys, values, first, rows, first_key, lse + statistic, delta + statistic,
                    nullptr, dscores);
    __syncthreads();
    for (int j = own.lane; j < p.head_dim; j += own.lanes) {
      float sum = sums[own.row * p.row_stride() + j];
      for (int key = 0; key < p.tile; ++key)
        sum = fmaf(dscores[own.row * (p.tile + 1) + key], keys[key * p.row_stride() + j], sum);
      sums[own.row * p.row_stride() + j] = sum;
    }
  }
  __syncthreads();
  store_tile<T>(p, sums, dq, sequence + first, rows, head * p.head_dim);
}

// A block: dk and dv of a tile of keys of one kv head, summed over its query heads and the queries that see them.
template <typename T>
__global__ void grad_keys_kernel(Problem p, ConstRows q, ConstRows k, ConstRows v, const float* lse,
                                 const float* delta, ConstRows dout, Rows dk, Rows dv) {
  extern __shared__ float shared[];
  float *const queries = shared, *const gradients = queries + p.tile_floats(),
               *const keys = gradients + p.tile_floats(), *const values = keys + p.tile_floats(),
               *const key_sums = values + p.tile_floats(), *const value_sums = key_sums + p.tile_floats(),
               *const probabilities = value_sums + p.tile_floats(),
               *const dscores = probabilities + p.tile * (p.tile + 1);
  const int64_t tiles = ceil_div(p.seq, p.tile), tile = blockIdx.x % tiles, kv_head = blockIdx.y,
                sequence = blockIdx.x / tiles * p.seq, first_key = tile * p.tile,
                num_keys = smaller(p.tile, p.seq - first_key);
  load_tile<T>(p, keys, k, sequence + first_key, num_keys, kv_head * p.head_dim);
  load_tile<T>(p, values, v, sequence + first_key, num_keys, kv_head * p.head_dim);
  clear_tile(p, key_sums);
  clear_tile(p, value_sums);
  const RowThreads own(p);
  for (int64_t head = kv_head * p.group; head < (kv_head + 1) * p.group; ++head) {
    for (int64_t query_tile = tile; query_tile < tiles; ++query_tile) {
      const int64_t first = query_tile * p.tile, rows = smaller(p.tile, p.seq - first);
      const int64_t statistic = (sequence + first) * p.heads + head;
      __syncthreads();
      load_tile<T>(p, queries, q, sequence + first, rows, head * p.head_dim);
      load_tile<T>(p, gradients, dout, sequence + first, rows, head * p.head_dim);
      __syncthreads();
      score_gradients(p, queries, gradients, keys, values, first, rows, first_key, lse + statistic,
                      delta + statistic, probabilities, dscores);
      __syncthreads();
      for (int j = own.lane; j < p.head_dim; j += own.lanes) {
        const int at = own.row * p.row_stride() + j;
        float key_sum = key_sums[at], value_sum = value_sums[at];
        for (int query = 0; query < p.tile; ++query) {
          const int score = query * (p.tile + 1) + own.row;
          key_sum = fmaf(dscores[score], queries[query * p.row_stride() + j], key_sum);
          value_sum = fmaf(probabilities[score], gradients[query * p.row_stride() + j], value_sum);
        }
        key_sums[at] = key_sum;
        value_sums[at] = value_sum;
      }
    }
  }
  __syncthreads();
  store_tile<T>(p, key_sums, dk, sequence + first_key, num_keys, kv_head * p.head_dim);
  store_tile<T>(p, value_sums, dv, sequence + first_key, num_keys, kv_head * p.head_dim);
}

// to[b, s, h] = from[b, h, s], or back.
__global__ void reorder_statistics_kernel(int64_t seq, int64_t heads, int64_t items, bool to_tokens,
                                          const float* from, float* to) {
  const int64_t i = item_of_row();  // of [b, s, h]
  if (i >= items) return;
  const int64_t token = i / heads, head = i % heads, other = (token / seq * heads + head) * seq + token % seq;
  if (to_tokens)
    to[i] = from[other];
  else
    to[other] = from[i];
}

Problem problem_of(const AttentionShape& s) {
  return {s.seq,
          s.heads,
          s.heads / s.kv_heads,
          s.head_dim,
          attention_tile(s.head_dim),
          1 / std::sqrt(static_cast<float>(s.head_dim))};
}

size_t shared_bytes(const Problem& p, int tiles, int score_tiles) {
  return static_cast<size_t>(tiles * p.tile * (p.head_dim + 1) + score_tiles * p.tile * (p.tile + 1)) *
         sizeof(float);
}

// More than 48 KiB of shared memory must be asked for.
template <typename KernelFunction>
void allow_shared(KernelFunction* kernel, size_t bytes) {
  cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                       static_cast<int>(bytes));
}

// A block for each tile of each sequence, which go into x: y and z have room for 65535 of them.
dim3 tiles_grid(const AttentionShape& s, int heads, int tile) {
  return {grid_blocks(ceil_div(s.seq, tile) * s.batch), static_cast<unsigned>(heads), 1};
}

}  // namespace

void attention_forward(cudaStream_t stream, DType dtype, const AttentionShape& shape, ConstRows q, ConstRows k,
                       ConstRows v, Rows o, float* lse) {
  const Problem p = problem_of(shape);
  const size_t bytes = shared_bytes(p, 4, 1);
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    allow_shared(forward_kernel<T>, bytes);
    forward_kernel<T><<<tiles_grid(shape, shape.heads, p.tile), kThreads, bytes, stream>>>(p, q, k, v, o, lse);
  });
  check_launch("attention");
}

void attention_backward(cudaStream_t stream, DType dtype, const AttentionShape& shape, ConstRows q, ConstRows k,
                        ConstRows v, ConstRows o, const float* lse, ConstRows dout, Rows dq, Rows dk, Rows dv,
                        float* delta) {
  const Problem p = problem_of(shape);
  const size_t query_bytes = shared_bytes(p, 5, 1), key_bytes = shared_bytes(p, 6, 2);
  const int64_t tokens = shape.batch * shape.seq;
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    delta_kernel<T><<<grid_blocks(ceil_div(tokens * shape.heads * 32, kThreads)), kThreads, 0, stream>>>(
        p, tokens, o, dout, delta);
    check_launch("attention_grad's delta");
    allow_shared(grad_queries_kernel<T>, query_bytes);
    grad_queries_kernel<T><<<tiles_grid(shape, shape.heads, p.tile), kThreads, query_bytes, stream>>>(
        p, q, k, v, lse, delta, dout, dq);
    check_launch("attention_grad's dq");
    allow_shared(grad_keys_kernel<T>, key_bytes);
    grad_keys_kernel<T><<<tiles_grid(shape, shape.kv_heads, p.tile), kThreads, key_bytes, stream>>>(
        p, q, k, v, lse, delta, dout, dk, dv);
    check_launch("attention_grad's dk and dv");
  });
}

void statistics_to_lse(cudaStream_t stream, const AttentionShape& shape, const float* statistics, float* lse) {
  const int64_t items = shape.batch * shape.seq * shape.heads;
  reorder_statistics_kernel<<<grid_blocks(ceil_div(items, kThreads)), kThreads, 0, stream>>>(
      shape.seq, shape.heads, items, true, statistics, lse);
  check_launch("statistics_to_lse");
}

void lse_to_statistics(cudaStream_t stream, const AttentionShape& shape, const float* lse, float* statistics) {
  const int64_t items = shape.batch * shape.seq * shape.heads;
  reorder_statistics_kernel<<<grid_blocks(ceil_div(items, kThreads)), kThreads, 0, stream>>>(
      shape.seq, shape.heads, items, false, lse, statistics);
  check_launch("lse_to_statistics");
}

}  // namespace trine::cuda
