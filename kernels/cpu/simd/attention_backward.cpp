// The gradient of tiled causal attention (Dao 2022). A task is one kv head of one sequence: it runs over its query
// heads and query tiles, so that dK and dV are summed by one thread. Probabilities are computed again from the
// log-sum-exp. With D[query] = sum over terms of dO * O, and scores transposed as in the forward:
//   P^T = exp(K Q^T / sqrt(head_dim) - lse)     dP^T = V dO^T     dS^T = P^T (dP^T - D)
//   dV += P^T dO     dK += dS^T Q / sqrt(head_dim)     dQ = dS K / sqrt(head_dim)
#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/simd/tile.h"

namespace trine::cpu::TRINE_ISA {
namespace {

// The buffers of one thread; E is the element of a packed operand.
template <typename E>
struct Backward {
  E *keys, *keys_by_row, *values;  // all tiles of the sequence; natural, by row, natural
  float *dkeys, *dvalues;          // all tiles; [kTile][width]
  E *query, *query_by_row, *query_transposed;
  E *dout, *dout_by_row, *dout_transposed;
  float *dquery, *dots, *lse;            // [kTile][width], [kTile], [kTile]
  float *scores, *dscores;               // [key][query]: P and dS of Floats
  E *probabilities, *dnatural, *dpairs;  // P and dS of Pairs: pairs of queries, and pairs of keys for dQ

  TRINE_INLINE size_t cut(const AttentionShape& shape, uintptr_t base) {
    const int64_t tile = packed_width(shape.head_dim) * kTile, sequence = ceil_div(shape.seq, kTile) * tile;
    ScratchCutter cutter{base};
    for (E** buffer : {&keys, &keys_by_row, &values}) cutter.take(*buffer, sequence);
    for (float** buffer : {&dkeys, &dvalues}) cutter.take(*buffer, sequence);
    for (E** buffer : {&query, &query_by_row, &query_transposed, &dout, &dout_by_row, &dout_transposed})
      cutter.take(*buffer, tile);
    cutter.take(dquery, tile);
    for (float** buffer : {&dots, &lse}) cutter.take(*buffer, kTile);
    for (float** buffer : {&scores, &dscores}) cutter.take(*buffer, kTile * kTile);
    for (E** buffer : {&probabilities, &dnatural, &dpairs}) cutter.take(*buffer, kTile * kTile);
    return cutter.used;
  }
};

// What the products read: P and dS with pairs along the queries (Left of dV, dK), dS along the keys (Left of dQ).
template <typename Op>
struct Gradients {
  Left<Op> p, ds, ds_of_query;
};

// p and ds of two neighbouring keys at a time: two(key, p0, p1, ds0, ds1).
template <typename Two>
TRINE_INLINE void gradient_lanes(int64_t query, bool diagonal, float scale, float* scores, const float* dscores,
                                 const float* lse, const float* dots, Two&& two) {
  if (diagonal) mask_future(query, scores);
  const Vec shift = -load(lse + query), dot = load(dots + query);
  for (int64_t key = 0; key < visible_keys(query, diagonal); key += 2) {
    const int64_t at0 = key * kTile + query, at1 = at0 + kTile;
    const Vec p0 = exp2_of_score(fma(load(scores + at0), splat(scale), shift));
    const Vec p1 = exp2_of_score(fma(load(scores + at1), splat(scale), shift));
    two(key, p0, p1, p0 * (load(dscores + at0) - dot), p1 * (load(dscores + at1) - dot));
  }
}

TRINE_INLINE Gradients<Floats> gradients(bool diagonal, float scale, const Backward<float>& s) {
  for (int64_t query = 0; query < kTile; query += kLanes)
    gradient_lanes(query, diagonal, scale, s.scores, s.dscores, s.lse, s.dots,
                   [&](int64_t key, Vec p0, Vec p1, Vec ds0, Vec ds1) TRINE_LAMBDA {
                     const int64_t at = key * kTile + query;
                     store(s.scores + at, p0);
                     store(s.scores + at + kTile, p1);
                     store(s.dscores + at, ds0);
                     store(s.dscores + at + kTile, ds1);
                   });
  return {{s.scores, kTile, 1}, {s.dscores, kTile, 1}, {s.dscores, 1, kTile}};
}

#if defined(__AVX512BF16__)
TRINE_INLINE void store_rows(uint32_t* first, uint32_t* second, TwoHalves x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(first), _mm512_castsi512_si256(x.bits));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(second), _mm512_extracti64x4_epi64(x.bits, 1));
}

TRINE_INLINE Gradients<Pairs> gradients(bool diagonal, float scale, const Backward<uint32_t>& s) {
  constexpr int64_t kRow = kTile / 2;
  for (int64_t query = 0; query < kTile; query += kLanes)
    gradient_lanes(query, diagonal, scale, s.scores, s.dscores, s.lse, s.dots,
                   [&](int64_t key, Vec p0, Vec p1, Vec ds0, Vec ds1) TRINE_LAMBDA {
                     const int64_t at = key * kRow + query / 2;
                     const TwoHalves ds = round_two(ds0, ds1);
                     store_rows(s.probabilities + at, s.probabilities + at + kRow, round_two(p0, p1));
                     store_rows(s.dnatural + at, s.dnatural + at + kRow, ds);
                     store_pairs(s.dpairs + key / 2 * kTile + query, ds);
                   });
  return {{s.probabilities, kRow, 1}, {s.dnatural, kRow, 1}, {s.dpairs, 1, kTile}};
}
#endif

// One tile of queries (packed in s) against the tile of keys at `key`.
template <typename Op>
TRINE_INLINE void backward_tile(const Backward<typename Op::Element>& s, int64_t key, bool diagonal, float scale,
                                int64_t head_dim, const typename Op::Element* query_by_row,
                                const typename Op::Element* dout_by_row) {
  using E = typename Op::Element;
  const int64_t width = packed_width(head_dim), row_elements = width / Op::kTerms;
  const int64_t depth = ceil_div(head_dim, Op::kTerms), step = diagonal ? kGroup : kTile;
  const E *keys = s.keys + key * width, *values = s.values + key * width;
  const E* keys_by_row = (Op::kTerms == 1 ? s.keys : s.keys_by_row) + key * width;
  for (int64_t k = 0; k < kTile; k += step) {
    const int64_t query = diagonal ? k : 0, at = k * kTile + query;
    product<Op>(step, kTile - query, depth, {keys + k * row_elements, row_elements, 1},
                {s.query_transposed + query, kTile}, s.scores + at, kTile, false);
    product<Op>(step, kTile - query, depth, {values + k * row_elements, row_elements, 1},
                {s.dout_transposed + query, kTile}, s.dscores + at, kTile, false);
  }
  const Gradients<Op> g = gradients(diagonal, scale, s);
  for (int64_t k = 0; k < kTile; k += step) {
    const int64_t first = (diagonal ? k : 0) / Op::kTerms, queries = kTile / Op::kTerms - first;
    float *dkeys = s.dkeys + (key + k) * width, *dvalues = s.dvalues + (key + k) * width;
    product<Op>(step, head_dim, queries, {g.p.data + k * g.p.row + first, g.p.row, 1},
                {dout_by_row + first * width, width}, dvalues, width, true);
    product<Op>(step, head_dim, queries, {g.ds.data + k * g.ds.row + first, g.ds.row, 1},
                {query_by_row + first * width, width}, dkeys, width, true);
  }
  for (int64_t q = 0; q < kTile; q += step)
    product<Op>(step, head_dim, (diagonal ? q + kGroup : kTile) / Op::kTerms, {g.ds_of_query.data + q, 1, kTile},
                {keys_by_row, width}, s.dquery + q * width, width, key > 0);
}

// rows [first, first + count) of dst = scale * src[kTile][width]
template <typename T>
TRINE_INLINE void unpack(const float* src, float scale, Rows dst, int64_t first, int64_t count, int64_t column,
                         int64_t head_dim) {
  for (int64_t i = 0; i < count; ++i) {
    T* to = row<T>(dst, first + i) + column;
    const float* from = src + i * packed_width(head_dim);
    for_lanes(head_dim, [&](int64_t j, auto lanes) TRINE_LAMBDA { store(to + j, load(from + j) * scale, lanes); });
  }
}

struct BackwardArguments {
  AttentionShape shape;
  ConstRows q, k, v, o, dout;
  const float* lse;
  Rows dq, dk, dv;
};

// D and the log-sum-exp of a tile of queries; queries that do not exist get 0, and so no gradient.
template <typename T>
TRINE_INLINE void query_scalars(const BackwardArguments& a, int64_t first, int64_t count, int64_t head, float* dots,
                                float* lse) {
  const int64_t head_dim = a.shape.head_dim;
  for (int64_t i = 0; i < kTile; ++i) {
    dots[i] = lse[i] = 0;
    if (i >= count) continue;
    const T *o = row<T>(a.o, first + i) + head * head_dim, *dout = row<T>(a.dout, first + i) + head * head_dim;
    dots[i] = sum_row(
        head_dim, [&](int64_t j, auto lanes) TRINE_LAMBDA { return load(o + j, lanes) * load(dout + j, lanes); });
    lse[i] = a.lse[(first + i) * a.shape.heads + head] * kLog2E;
  }
}

template <typename T>
void backward_task(const BackwardArguments& a, int64_t batch, int64_t kv_head, uintptr_t scratch) {
  using Op = Operand<T>;
  using E = typename Op::Element;
  const int64_t seq = a.shape.seq, head_dim = a.shape.head_dim, width = packed_width(head_dim);
  const int64_t group = a.shape.heads / a.shape.kv_heads, sequence = batch * seq, kv_column = kv_head * head_dim;
  const int64_t terms = ceil_div(head_dim, Op::kTerms), row_elements = width / Op::kTerms;
  const float inverse_root = 1.0f / __builtin_sqrtf(static_cast<float>(head_dim));
  Backward<E> s;
  s.cut(a.shape, scratch);
  for (int64_t key = 0; key < seq; key += kTile) {
    const int64_t count = at_most(kTile, seq - key);
    pack<T>(a.k, sequence + key, count, kv_column, head_dim, s.keys + key * width);
    pack<T>(a.v, sequence + key, count, kv_column, head_dim, s.values + key * width);
    by_row(s.keys + key * width, head_dim, s.keys_by_row + key * width);
  }
  const int64_t sequence_bytes = round_up(seq, kTile) * width * 4;
  __builtin_memset(s.dkeys, 0, sequence_bytes);
  __builtin_memset(s.dvalues, 0, sequence_bytes);
  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head)
    for (int64_t query = 0; query < seq; query += kTile) {
      const int64_t count = at_most(kTile, seq - query), first = sequence + query;
      pack<T>(a.q, first, count, head * head_dim, head_dim, s.query);
      pack<T>(a.dout, first, count, head * head_dim, head_dim, s.dout);
      transpose(kTile, terms, s.query, row_elements, s.query_transposed, kTile);
      transpose(kTile, terms, s.dout, row_elements, s.dout_transposed, kTile);
      const E* query_by_row = by_row(s.query, head_dim, s.query_by_row);
      const E* dout_by_row = by_row(s.dout, head_dim, s.dout_by_row);
      query_scalars<T>(a, first, count, head, s.dots, s.lse);
      for (int64_t key = 0; key <= query; key += kTile)
        backward_tile<Op>(s, key, key == query, kLog2E * inverse_root, head_dim, query_by_row, dout_by_row);
      unpack<T>(s.dquery, inverse_root, a.dq, first, count, head * head_dim, head_dim);
    }
  for (int64_t key = 0; key < seq; key += kTile) {
    const int64_t count = at_most(kTile, seq - key);
    unpack<T>(s.dkeys + key * width, inverse_root, a.dk, sequence + key, count, kv_column, head_dim);
    unpack<T>(s.dvalues + key * width, 1.0f, a.dv, sequence + key, count, kv_column, head_dim);
  }
}

}  // namespace

size_t attention_backward_scratch_bytes(const AttentionShape& shape, Parallel parallel) {
  Backward<float> s;
  return s.cut(shape, 0) * parallel.threads;
}

void attention_backward(DType dtype, const AttentionShape& shape, ConstRows q, ConstRows k, ConstRows v,
                        ConstRows o, const float* lse, ConstRows dout, Rows dq, Rows dk, Rows dv, void* scratch,
                        Parallel parallel) {
  const BackwardArguments arguments = {shape, q, k, v, o, dout, lse, dq, dk, dv};
  Backward<float> s;
  const size_t bytes = s.cut(shape, 0);
  for_dtype(dtype, [&](auto type) TRINE_LAMBDA {
    parallel_tasks(shape.batch * shape.kv_heads, parallel, [&](int64_t task, int thread) TRINE_LAMBDA {
      backward_task<decltype(type)>(arguments, task / shape.kv_heads, task % shape.kv_heads,
                                    reinterpret_cast<uintptr_t>(scratch) + thread * bytes);
    });
  });
}

}  // namespace trine::cpu::TRINE_ISA
