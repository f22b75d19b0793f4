// Attention of few queries over many keys (decoding). A task is one query and one kv head, for all of its query
// heads; keys and values go by in blocks, with the softmax's maximum and sum carried along
// (Milakov & Gimelshein 2018).
#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/simd/parallel.h"

namespace trine::cpu::TRINE_ISA {
namespace {

constexpr int64_t kKeys = 64;  // of a block

struct Sums {
  float highest = -kInfinity, sum = 0;  // of the scores times log2(e) / sqrt(head_dim), and of 2^(score - highest)
};

TRINE_INLINE int64_t row_width(const AttentionShape& shape) { return round_up(shape.head_dim, 16); }

// scores[i] = q k_i * scale for `count` keys; absent ones of the last vector give -inf.
template <typename T>
TRINE_INLINE void score(int64_t head_dim, float scale, const T* q, const T* keys, int64_t stride, int64_t count,
                        float* scores) {
  for (int64_t i = 0; i < count; ++i)
    scores[i] = scale * sum_row(head_dim, [&](int64_t d, auto lanes) TRINE_LAMBDA {
                  return load(q + d, lanes) * load(keys + i * stride + d, lanes);
                });
  for (int64_t i = count; i < round_up(count, kLanes); ++i) scores[i] = -kInfinity;
}

// Scores become probabilities relative to the new maximum. Returns the factor of what was summed before.
TRINE_INLINE float soften(int64_t count, float* scores, Sums& sums) {
  Vec top = splat(sums.highest), sum = {};
  for (int64_t i = 0; i < count; i += kLanes) top = max(load(scores + i), top);
  const float now = max_lanes(top);
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec p = exp2_of_score(load(scores + i) - now);
    store(scores + i, p);
    sum += p;
  }
  const float shrink = exp2_of_score(splat(sums.highest - now))[0];
  sums = {now, sums.sum * shrink + sum_lanes(sum)};
  return shrink;
}

// out = out * shrink + sum_i p_i v_i
template <typename T>
TRINE_INLINE void add_values(int64_t head_dim, float shrink, const float* p, const T* values, int64_t stride,
                             int64_t count, float* out) {
  for_lanes(head_dim, [&](int64_t d, auto lanes) TRINE_LAMBDA {
    Vec even = load(out + d, lanes) * shrink, odd = {};
    int64_t i = 0;
    for (; i + 2 <= count; i += 2) {
      even = fma(splat(p[i]), load(values + i * stride + d, lanes), even);
      odd = fma(splat(p[i + 1]), load(values + (i + 1) * stride + d, lanes), odd);
    }
    if (i < count) even = fma(splat(p[i]), load(values + i * stride + d, lanes), even);
    store(out + d, even + odd, lanes);
  });
}

template <typename T>
void attend_row(const AttentionShape& shape, int64_t query, int64_t kv_head, ConstRows q, ConstRows k, ConstRows v,
                Rows o, float* out) {
  const int64_t head_dim = shape.head_dim, width = row_width(shape), group = shape.heads / shape.kv_heads;
  const int64_t num_keys = shape.position + query + 1, first = kv_head * group * head_dim;
  const float scale = kLog2E / __builtin_sqrtf(static_cast<float>(head_dim));
  Sums* const sums = reinterpret_cast<Sums*>(out + group * width);
  for (int64_t h = 0; h < group; ++h) sums[h] = {};
  for (int64_t i = 0; i < group * width; ++i) out[i] = 0;
  for (int64_t key = 0; key < num_keys; key += kKeys) {
    const int64_t count = at_most(kKeys, num_keys - key);
    const T *keys = row<T>(k, key) + kv_head * head_dim, *values = row<T>(v, key) + kv_head * head_dim;
    for (int64_t h = 0; h < group; ++h) {
      float scores[kKeys];
      score(head_dim, scale, row<T>(q, query) + first + h * head_dim, keys, k.stride, count, scores);
      const float shrink = soften(count, scores, sums[h]);
      add_values(head_dim, shrink, scores, values, v.stride, count, out + h * width);
    }
  }
  for (int64_t h = 0; h < group; ++h)
    for_lanes(head_dim, [&](int64_t d, auto lanes) TRINE_LAMBDA {
      store(row<T>(o, query) + first + h * head_dim + d, load(out + h * width + d, lanes) / splat(sums[h].sum),
            lanes);
    });
}

TRINE_INLINE int64_t scratch_floats(const AttentionShape& shape) {
  const int64_t group = shape.heads / shape.kv_heads;
  return round_up(group * row_width(shape) + group * 2, 16);
}

}  // namespace

size_t attention_rows_scratch_bytes(const AttentionShape& shape, Parallel parallel) {
  return static_cast<size_t>(scratch_floats(shape)) * 4 * parallel.threads;
}

void attention_rows(DType dtype, const AttentionShape& shape, ConstRows q, ConstRows k, ConstRows v, Rows o,
                    void* scratch, Parallel parallel) {
  for_dtype(dtype, [&](auto type) TRINE_LAMBDA {
    parallel_tasks(shape.seq * shape.kv_heads, parallel, [&](int64_t task, int thread) TRINE_LAMBDA {
      attend_row<decltype(type)>(shape, task / shape.kv_heads, task % shape.kv_heads, q, k, v, o,
                                 static_cast<float*>(scratch) + thread * scratch_floats(shape));
    });
  });
}

}  // namespace trine::cpu::TRINE_ISA
