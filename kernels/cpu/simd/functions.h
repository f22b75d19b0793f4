// The vectorised CPU kernels as plain functions: no graph, no allocation, no state.
//
// Legend: T the activation dtype (kF32, kBF16 or kF16), n tokens (rows), d hidden size, f ffn size, v vocabulary.
// * Matrices are row major; a stride counts elements between rows, so that a matrix may be a column range of a
//   wider one. Nothing but `scratch` (64 bytes) needs an alignment beyond its element's.
// * Arithmetic is in f32 and rounded once, to nearest even, where T is stored:
//   a NaN stays a NaN, f16 overflows to infinity.
// * A result depends neither on the number of threads, nor on an element's address or alignment.
// * Outputs must not overlap inputs, unless "in place" is said: then they are the same matrix with the same stride.
// REQUIRES everywhere: dtype is a float type, sizes are not negative, threads >= 1.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "kernels/cpu/simd/isa.h"

namespace trine::cpu {

struct Parallel {
  int threads = 1;  // OpenMP threads of this call, the caller's included
};

struct ConstRows {
  const void* data;
  int64_t stride;
};
struct Rows {
  void* data;
  int64_t stride;
};

// Causal attention over `batch` sequences of `seq` tokens; query head h reads kv head h / (heads / kv_heads).
// REQUIRES: heads is a multiple of kv_heads. Any head_dim >= 1.
struct AttentionShape {
  int64_t batch, seq;
  int heads, kv_heads, head_dim;
  // Where the queries stand in their sequence, of which k and v have position + seq rows. REQUIRES of
  // attention_forward: a multiple of 64, and 0 unless batch is 1; of the others: 0.
  int64_t position = 0;
};

struct AdamWStep {
  float lr, beta1, beta2, eps, weight_decay;
  float bias_correction1, bias_correction2;  // 1 - beta^step
  float grad_scale;                          // clipping and the undone loss scale
};

inline constexpr int kNormBins = 65;  // of squared_norm_bins

struct SimdFunctions {
  // out[i] = table[ids[i] - first_row], or zeros when that is outside [0, rows).
  void (*embedding)(DType dtype, const int32_t* ids, int64_t n, int64_t d, int64_t first_row, int64_t rows,
                    ConstRows table, Rows out, Parallel parallel);
  // acc[ids[i] - first_row] += dy[i] in ascending i, for ids inside.
  // acc f32[rows, d] is zeroed first on `overwrite`.
  void (*embedding_grad)(DType dtype, const int32_t* ids, int64_t n, int64_t d, int64_t first_row, int64_t rows,
                         ConstRows dy, float* acc, bool overwrite, Parallel parallel);

  // rstd[i] = 1 / sqrt(mean(x[i]^2) + eps); y = x * rstd * w. w T[d]. y may be in place over x.
  void (*rms_norm)(DType dtype, int64_t n, int64_t d, float eps, ConstRows x, const void* w, Rows y, float* rstd,
                   Parallel parallel);
  // sum = a + b; then rms_norm of sum. sum may be in place over a or b, and y over the other one.
  void (*add_rms_norm)(DType dtype, int64_t n, int64_t d, float eps, ConstRows a, ConstRows b, const void* w,
                       Rows sum, Rows y, float* rstd, Parallel parallel);
  // dx = rstd * (w*dy - x * rstd^2 * mean(w*dy*x)), in place over dy allowed; dw f32[d] = sum over rows of
  // dy*x*rstd. Then dx += residual, unless that is null; in place over it allowed.
  void (*rms_norm_grad)(DType dtype, int64_t n, int64_t d, ConstRows x, const void* w, const float* rstd,
                        ConstRows dy, ConstRows residual, Rows dx, float* dw, void* scratch, Parallel parallel);
  size_t (*rms_norm_grad_scratch_bytes)(int64_t n, int64_t d);

  // Rotates each of `heads` heads of x T[n, heads*head_dim], halves as Hugging Face has them (not pairs):
  //   out1 = x1*cos - x2*sin, out2 = x2*cos + x1*sin; the inverse takes -sin.
  // cos, sin f32[seq, head_dim/2], row i is at position i % seq. In place allowed. REQUIRES: head_dim is even.
  void (*rope)(DType dtype, int64_t n, int heads, int head_dim, int64_t seq, ConstRows x, const float* cos,
               const float* sin, bool inverse, Rows out, Parallel parallel);

  // o = softmax(causal(q k^T / sqrt(head_dim))) v. q, o T[n, heads*head_dim]; k, v T[n, kv_heads*head_dim];
  // lse f32[n, heads] = log of the sum of exp of the scaled scores. In tiles: no seq x seq matrix.
  // At avx512bf16 a bf16 call multiplies in bf16 pairs (probabilities rounded to bf16), accumulating in f32.
  void (*attention_forward)(DType dtype, const AttentionShape& shape, ConstRows q, ConstRows k, ConstRows v, Rows o,
                            float* lse, void* scratch, Parallel parallel);
  size_t (*attention_forward_scratch_bytes)(const AttentionShape& shape, Parallel parallel);
  // dout is the gradient of o. All of dq, dk, dv are overwritten; none may overlap an input.
  void (*attention_backward)(DType dtype, const AttentionShape& shape, ConstRows q, ConstRows k, ConstRows v,
                             ConstRows o, const float* lse, ConstRows dout, Rows dq, Rows dk, Rows dv,
                             void* scratch, Parallel parallel);
  size_t (*attention_backward_scratch_bytes)(const AttentionShape& shape, Parallel parallel);

  // The same for few queries (decoding: one): k and v are read row by row, as a stream.
  // batch is 1, any position; no lse.
  void (*attention_rows)(DType dtype, const AttentionShape& shape, ConstRows q, ConstRows k, ConstRows v, Rows o,
                         void* scratch, Parallel parallel);
  size_t (*attention_rows_scratch_bytes)(const AttentionShape& shape, Parallel parallel);

  // y[i] = sum_j w[i, j] * x[j] for w T[m, k]: what one token's matrix products are. The time is that of reading w.
  void (*matvec)(DType dtype, int64_t m, int64_t k, const void* x, ConstRows w, void* y, Parallel parallel);

  // h = g / (1 + exp(-g)) * u, all T[n, f]. h may be in place over g or u.
  void (*swiglu)(DType dtype, int64_t n, int64_t f, ConstRows g, ConstRows u, Rows h, Parallel parallel);
  // dg and du may be in place over g, u or dh (not both over the same).
  void (*swiglu_grad)(DType dtype, int64_t n, int64_t f, ConstRows g, ConstRows u, ConstRows dh, Rows dg, Rows du,
                      Parallel parallel);

  // y = a + b, T[n, d]. In place over either.
  void (*add)(DType dtype, int64_t n, int64_t d, ConstRows a, ConstRows b, Rows y, Parallel parallel);
  // dst = src, n contiguous elements.
  void (*cast)(DType from, DType to, int64_t n, const void* src, void* dst, Parallel parallel);
  // dst = src, both [n, d].
  void (*copy_rows)(DType from, DType to, int64_t n, int64_t d, ConstRows src, Rows dst, Parallel parallel);
  // acc (+)= x, n contiguous f32; acc = x on `overwrite`.
  void (*accumulate)(int64_t n, float* acc, const float* x, bool overwrite, Parallel parallel);
  // How many of T[n, d] are infinite or NaN, and row*d + column of the first such (-1: none).
  int64_t (*count_non_finite)(DType dtype, int64_t n, int64_t d, ConstRows x, Parallel parallel);
  int64_t (*first_non_finite)(DType dtype, int64_t n, int64_t d, ConstRows x);

  // Of logits T[n, v], the columns [first_column, first_column + v) of the vocabulary: stats f32[n, 3] =
  // (max, sum of exp(x - max), logit of the label, or 0 where the label is not among these columns).
  void (*vocab_stats)(DType dtype, int64_t n, int64_t v, ConstRows logits, const int32_t* labels,
                      int64_t first_column, float* stats, Parallel parallel);
  // dlogits[j] = dstats[1] * exp(x[j] - stats[0]) + (j is the label ? dstats[2] : 0), in place over logits allowed.
  // stats[0] counts as a constant: it cancels in the loss. A row whose dstats are all 0 gets exact zeros.
  void (*vocab_stats_grad)(DType dtype, int64_t n, int64_t v, ConstRows logits, const float* stats,
                           const float* dstats, const int32_t* labels, int64_t first_column, Rows dlogits,
                           Parallel parallel);

  // Adds the squares of g f32[n] to bins, exactly and so in any order: each block of 256 elements from the start
  // gives an f32 sum in a fixed order (the same on every level), which is added as an integer mantissa to
  // bins[biased exponent / 4], shifted left by the exponent's remainder. bins[64] counts sums that are not finite.
  // A term is less than 2^27: bins hold 2^36 blocks, of all ranges and ranks together.
  void (*squared_norm_bins)(int64_t n, const float* g, int64_t* bins, Parallel parallel);

  // One step of AdamW (Loshchilov & Hutter 2019) over flat f32[n]: g = grad*grad_scale, m = beta1*m + (1-beta1)*g,
  // v = beta2*v + (1-beta2)*g^2, p -= lr*weight_decay*p + lr * (m/bias_correction1) / (sqrt(v/bias_correction2) +
  // eps). compute T[n] gets the rounded master; may be null.
  void (*adamw)(DType compute_dtype, int64_t n, const AdamWStep& parameters, float* master, float* m, float* v,
                const float* grad, void* compute, Parallel parallel);
};

// The sum that squared_norm_bins collected (after adding bins of other ranges or ranks); infinity if any block sum
// was not finite.
double squared_norm_value(const int64_t* bins);

}  // namespace trine::cpu
