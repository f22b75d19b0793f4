// Tiled causal attention (Milakov & Gimelshein 2018, Dao 2022). A task is one tile of queries of one kv head, for
// all of its query heads, so that a packed tile of keys and values serves them all.
//
// Scores stand transposed, [key][query]: queries are lanes, so the softmax's maxima and sums need no step across
// lanes, and both products broadcast from K and V as they lie in memory.
//   S^T[key][query] = K[key][.] Q^T[.][query]        O^T[term][query] = V^T[term][.] P^T[.][query]
#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/simd/tile.h"

namespace trine::cpu::TRINE_ISA {
namespace {

// The buffers of one thread; E is the element of a packed operand.
template <typename E>
struct Forward {
  E *stage, *keys, *values, *values_by_row, *probabilities;
  E* queries;      // [query heads of a group][width][kTile], transposed
  float* scores;   // [kTile keys][kTile queries]
  float* out;      // [query heads of a group][width][kTile], transposed
  float* highest;  // [query heads of a group][kTile], of the scores times log2(e) / sqrt(head_dim)
  float* sums;     // likewise

  TRINE_INLINE size_t cut(const AttentionShape& shape, uintptr_t base) {
    const int64_t width = packed_width(shape.head_dim), tile = width * kTile, group = shape.heads / shape.kv_heads;
    ScratchCutter cutter{base};
    for (E** buffer : {&stage, &keys, &values, &values_by_row}) cutter.take(*buffer, tile);
    cutter.take(probabilities, kTile * kTile);
    cutter.take(queries, group * tile);
    cutter.take(scores, kTile * kTile);
    cutter.take(out, group * tile);
    cutter.take(highest, group * kTile);
    cutter.take(sums, group * kTile);
    return cutter.used;
  }
};

// Scores become probabilities relative to the new maximum; what was summed before is rescaled.
template <typename StoreTwo>
TRINE_INLINE void softmax_lanes(int64_t query, bool diagonal, bool first, float scale, int64_t head_dim,
                                float* scores, float* highest, float* sums, float* out, StoreTwo&& store_two) {
  const int64_t keys = visible_keys(query, diagonal);
  if (diagonal) mask_future(query, scores);
  Vec top[4];
  for (Vec& t : top) t = splat(-kInfinity);
  for (int64_t i = 0; i < keys; i += 4)
    for (int k = 0; k < 4; ++k) top[k] = max(load(scores + (i + k) * kTile + query), top[k]);
  const Vec before = load(highest + query);
  const Vec now = max(max(max(top[0], top[1]), max(top[2], top[3])) * scale, before);
  Vec sum = {};
  for (int64_t i = 0; i < keys; i += 2) {
    const Vec p0 = exp2_of_score(fma(load(scores + i * kTile + query), splat(scale), -now));
    const Vec p1 = exp2_of_score(fma(load(scores + (i + 1) * kTile + query), splat(scale), -now));
    sum += p0 + p1;
    store_two(i, p0, p1);
  }
  store(highest + query, now);
  if (first) {
    store(sums + query, sum);
    return;
  }
  const Vec shrink = exp2_of_score(before - now);
  store(sums + query, fma(load(sums + query), shrink, sum));
  if (any(shrink != 1.0f))
    for (int64_t d = 0; d < head_dim; ++d) store(out + d * kTile + query, load(out + d * kTile + query) * shrink);
}

TRINE_INLINE const float* softmax(bool diagonal, bool first, float scale, int64_t head_dim, float* scores,
                                  float* highest, float* sums, float* out, float* /*probabilities*/) {
  for (int64_t query = 0; query < kTile; query += kLanes)
    softmax_lanes(query, diagonal, first, scale, head_dim, scores, highest, sums, out,
                  [&](int64_t i, Vec p0, Vec p1) TRINE_LAMBDA {
                    store(scores + i * kTile + query, p0);
                    store(scores + (i + 1) * kTile + query, p1);
                  });
  return scores;
}

#if defined(__AVX512BF16__)
TRINE_INLINE const uint32_t* softmax(bool diagonal, bool first, float scale, int64_t head_dim, float* scores,
                                     float* highest, float* sums, float* out, uint32_t* probabilities) {
  for (int64_t query = 0; query < kTile; query += kLanes)
    softmax_lanes(query, diagonal, first, scale, head_dim, scores, highest, sums, out,
                  [&](int64_t i, Vec p0, Vec p1)
                      TRINE_LAMBDA { store_pairs(probabilities + i / 2 * kTile + query, round_two(p0, p1)); });
  return probabilities;
}
#endif

// One tile of keys for one query head.
template <typename Op>
TRINE_INLINE void attend(const Forward<typename Op::Element>& s, int64_t head, bool diagonal, bool first,
                         float scale, int64_t head_dim, const typename Op::Element* values) {
  const int64_t width = packed_width(head_dim), depth = ceil_div(head_dim, Op::kTerms);
  const Left<Op> keys = {s.keys, width / Op::kTerms, 1};
  const Right<Op> queries = {s.queries + head * width * kTile, kTile};
  float* out = s.out + head * width * kTile;
  // On the diagonal, group by group of keys: those queries only that see a key of the group.
  const int64_t step = diagonal ? kGroup : kTile;
  for (int64_t key = 0; key < kTile; key += step)
    product<Op>(step, diagonal ? kTile - key : kTile, depth, {keys.data + key * keys.row, keys.row, keys.term},
                {queries.data + (diagonal ? key : 0), kTile}, s.scores + key * kTile + (diagonal ? key : 0), kTile,
                false);
  const typename Op::Element* p = softmax(diagonal, first, scale, head_dim, s.scores, s.highest + head * kTile,
                                          s.sums + head * kTile, out, s.probabilities);
  for (int64_t key = 0; key < kTile; key += step) {
    const int64_t k = key / Op::kTerms, query = diagonal ? key : 0;
    product<Op>(head_dim, kTile - query, step / Op::kTerms, {values + k * width, 1, width},
                {p + k * kTile + query, kTile}, out + query, kTile, !first || key > 0);
  }
}

template <typename T>
TRINE_INLINE void finish(const AttentionShape& shape, int64_t first_row, int64_t count, int64_t head, float* out,
                         const float* highest, const float* sums, float* stage, Rows o, float* lse) {
  const int64_t head_dim = shape.head_dim, width = packed_width(head_dim);
  for (int64_t query = 0; query < kTile; query += kLanes) {
    const Vec inverse = 1.0f / load(sums + query);
    for (int64_t d = 0; d < head_dim; ++d) store(out + d * kTile + query, load(out + d * kTile + query) * inverse);
  }
  transpose(head_dim, kTile, out, kTile, stage, width);
  for (int64_t i = 0; i < count; ++i) {
    T* to = row<T>(o, first_row + i) + head * head_dim;
    const float* from = stage + i * width;
    for_lanes(head_dim, [&](int64_t j, auto lanes) TRINE_LAMBDA { store(to + j, load(from + j, lanes), lanes); });
    lse[(first_row + i) * shape.heads + head] = highest[i] * kLn2 + __builtin_logf(sums[i]);
  }
}

template <typename T>
void forward_task(const AttentionShape& shape, int64_t batch, int64_t kv_head, int64_t tile, ConstRows q,
                  ConstRows k, ConstRows v, Rows o, float* lse, uintptr_t scratch) {
  using Op = Operand<T>;
  using E = typename Op::Element;
  const int64_t head_dim = shape.head_dim, width = packed_width(head_dim), group = shape.heads / shape.kv_heads;
  const int64_t sequence = batch * shape.seq, first_row = sequence + tile * kTile;
  const int64_t first_query = shape.position + tile * kTile, num_keys = shape.position + shape.seq;
  const int64_t count = at_most(kTile, shape.seq - tile * kTile);
  const float scale = kLog2E / __builtin_sqrtf(static_cast<float>(head_dim));
  Forward<E> s;
  s.cut(shape, scratch);
  for (int64_t h = 0; h < group; ++h) {
    pack<T>(q, first_row, count, (kv_head * group + h) * head_dim, head_dim, s.stage);
    transpose(kTile, ceil_div(head_dim, Op::kTerms), s.stage, width / Op::kTerms, s.queries + h * width * kTile,
              kTile);
  }
  for (int64_t i = 0; i < group * kTile; ++i) s.highest[i] = -kInfinity;
  for (int64_t key = 0; key <= first_query; key += kTile) {
    const int64_t keys = at_most(kTile, num_keys - key);
    pack<T>(k, sequence + key, keys, kv_head * head_dim, head_dim, s.keys);
    pack<T>(v, sequence + key, keys, kv_head * head_dim, head_dim, s.values);
    const E* values = by_row(s.values, head_dim, s.values_by_row);
    for (int64_t h = 0; h < group; ++h) attend<Op>(s, h, key == first_query, key == 0, scale, head_dim, values);
  }
  for (int64_t h = 0; h < group; ++h)
    finish<T>(shape, first_row, count, kv_head * group + h, s.out + h * width * kTile, s.highest + h * kTile,
              s.sums + h * kTile, reinterpret_cast<float*>(s.stage), o, lse);
}

}  // namespace

size_t attention_forward_scratch_bytes(const AttentionShape& shape, Parallel parallel) {
  Forward<float> s;
  return s.cut(shape, 0) * parallel.threads;
}

void attention_forward(DType dtype, const AttentionShape& shape, ConstRows q, ConstRows k, ConstRows v, Rows o,
                       float* lse, void* scratch, Parallel parallel) {
  Forward<float> s;
  const size_t bytes = s.cut(shape, 0);
  const int64_t tiles = ceil_div(shape.seq, kTile);
  for_dtype(dtype, [&](auto type) TRINE_LAMBDA {
    // Long tasks first: the last tile of a sequence sees the most keys.
    parallel_tasks(shape.batch * shape.kv_heads * tiles, parallel, [&](int64_t task, int thread) TRINE_LAMBDA {
      forward_task<decltype(type)>(shape, task / tiles / shape.kv_heads, task / tiles % shape.kv_heads,
                                   tiles - 1 - task % tiles, q, k, v, o, lse,
                                   reinterpret_cast<uintptr_t>(scratch) + thread * bytes);
    });
  });
}

}  // namespace trine::cpu::TRINE_ISA
