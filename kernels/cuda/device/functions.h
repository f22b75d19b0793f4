// The kernels as plain functions: no graph, no allocation, no state. The CUDA twin of kernels/cpu/simd/functions.h,
// with the same formulas and rounding points; what is said there is not repeated here.
//
// Legend: T the activation dtype (kF32, kBF16 or kF16), n tokens (rows), d hidden size, f ffn size, v vocabulary.
// * All addresses are of device memory. Matrices are row major; a stride counts elements between rows.
// * Each function enqueues on `stream` and returns. A launch that fails throws DeviceError.
// * Arithmetic is in f32 and rounded once, to nearest even, where T is stored. Sums have a fixed order.
// * Rows whose address, stride and length are multiples of 16 bytes are read and written 16 bytes at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <driver_types.h>
#include <span>

#include "base/dtype.h"

namespace trine::cuda {

struct ConstRows {
  const void* data;
  int64_t stride;
};
struct Rows {
  void* data;
  int64_t stride;
};

struct AttentionShape {
  int64_t batch, seq;
  int heads, kv_heads, head_dim;
};

struct AdamWParameters {
  float beta1, beta2, eps, weight_decay;
};

// Throws DeviceError if the launch just made was refused.
void check_launch(const char* kernel);
[[noreturn]] void refuse_dtype(int dtype);
[[noreturn]] void refuse_grid(int64_t blocks);

// --- rows
// -----------------------------------------------------------------------------------------------------------

void add(cudaStream_t stream, DType dtype, int64_t n, int64_t d, ConstRows a, ConstRows b, Rows y);
// dst = src, both [n, d].
void copy_rows(cudaStream_t stream, DType from, DType to, int64_t n, int64_t d, ConstRows src, Rows dst);
// acc += x, n contiguous f32.
void accumulate(cudaStream_t stream, int64_t n, float* acc, const float* x);
// Adds the number of infinite or NaN elements of T[n, d] to *count.
void count_non_finite(cudaStream_t stream, DType dtype, int64_t n, int64_t d, ConstRows x,
                      unsigned long long* count);
void swiglu(cudaStream_t stream, DType dtype, int64_t n, int64_t f, ConstRows g, ConstRows u, Rows h);
void swiglu_grad(cudaStream_t stream, DType dtype, int64_t n, int64_t f, ConstRows g, ConstRows u, ConstRows dh,
                 Rows dg, Rows du);
void embedding(cudaStream_t stream, DType dtype, const int32_t* ids, int64_t n, int64_t d, int64_t first_row,
               int64_t rows, ConstRows table, Rows out);
// Adds to acc f32[rows, d]; the caller zeroes it.
void embedding_grad(cudaStream_t stream, DType dtype, const int32_t* ids, int64_t n, int64_t d, int64_t first_row,
                    int64_t rows, ConstRows dy, float* acc);
// y[n] = x[*row_index], 0 <= *row_index < rows.
void take_row(cudaStream_t stream, DType dtype, int64_t rows, int64_t d, ConstRows x, const int32_t* row_index,
              void* y);
void repeat_heads(cudaStream_t stream, DType dtype, int64_t n, int64_t kv_heads, int64_t copies, int64_t head_dim,
                  ConstRows x, Rows y);
void repeat_heads_grad(cudaStream_t stream, DType dtype, int64_t n, int64_t kv_heads, int64_t copies,
                       int64_t head_dim, ConstRows dy, Rows dx);

// --- norm, rotary embedding
// -----------------------------------------------------------------------------------------

void rms_norm(cudaStream_t stream, DType dtype, int64_t n, int64_t d, float eps, ConstRows x, const void* w, Rows y,
              float* rstd);
// sum = a + b, in place over either allowed, and y over the other one.
void add_rms_norm(cudaStream_t stream, DType dtype, int64_t n, int64_t d, float eps, ConstRows a, ConstRows b,
                  const void* w, Rows sum, Rows y, float* rstd);
size_t rms_norm_grad_scratch_bytes(int64_t n, int64_t d);
void rms_norm_grad(cudaStream_t stream, DType dtype, int64_t n, int64_t d, ConstRows x, const void* w,
                   const float* rstd, ConstRows dy, ConstRows residual, Rows dx, float* dw, void* scratch);
// cos, sin f32[positions, head_dim / 2]. Row i stands at `first` + i % seq, where first is 0 without `position`,
// else *position, and first + n <= positions.
void rope(cudaStream_t stream, DType dtype, int64_t n, int64_t heads, int64_t head_dim, int64_t seq, ConstRows x,
          const float* cos, const float* sin, bool inverse, const int32_t* position, int64_t positions, Rows out);

// --- attention without cuDNN
// ----------------------------------------------------------------------------------------

// In f32, in tiles, without atomics. REQUIRES: head_dim <= kMaxHeadDim.
void attention_forward(cudaStream_t stream, DType dtype, const AttentionShape& shape, ConstRows q, ConstRows k,
                       ConstRows v, Rows o, float* lse);
// delta f32[n, heads] is scratch.
void attention_backward(cudaStream_t stream, DType dtype, const AttentionShape& shape, ConstRows q, ConstRows k,
                        ConstRows v, ConstRows o, const float* lse, ConstRows dout, Rows dq, Rows dk, Rows dv,
                        float* delta);
// k and v become rows [*position, *position + n) of the caches, which the queries then attend to.
void cached_attention(cudaStream_t stream, DType dtype, int64_t n, int heads, int kv_heads, int head_dim,
                      int64_t max_seq, ConstRows q, ConstRows k, ConstRows v, const int32_t* position, Rows keys,
                      Rows values, Rows o);
// Between [batch, heads, seq] (cuDNN's) and [batch * seq, heads] (the op's) f32.
void statistics_to_lse(cudaStream_t stream, const AttentionShape& shape, const float* statistics, float* lse);
void lse_to_statistics(cudaStream_t stream, const AttentionShape& shape, const float* lse, float* statistics);

// --- loss
// -----------------------------------------------------------------------------------------------------------

void vocab_stats(cudaStream_t stream, DType dtype, int64_t n, int64_t v, ConstRows logits, const int32_t* labels,
                 int64_t first_column, float* stats);
void vocab_stats_grad(cudaStream_t stream, DType dtype, int64_t n, int64_t v, ConstRows logits, const float* stats,
                      const float* dstats, const int32_t* labels, int64_t first_column, Rows dlogits);
// stats f32[parts, n, 3]; the sum over tokens in f64.
void cross_entropy(cudaStream_t stream, int64_t parts, int64_t n, const float* stats, const int32_t* labels,
                   float* loss);
void cross_entropy_grad(cudaStream_t stream, int64_t parts, int64_t n, const float* stats, const int32_t* labels,
                        const float* dloss, float* dstats);

// --- step
// -----------------------------------------------------------------------------------------------------------

void set_scalars(cudaStream_t stream, float* a, float a_value, float* b, float b_value);
void count_valid(cudaStream_t stream, int64_t n, const int32_t* labels, int64_t* count);
void loss_seed(cudaStream_t stream, const float* loss_scale, const int64_t* count, float* seed);
void squared_norm_bins(cudaStream_t stream, int64_t n, const float* g, int64_t* bins);
void clip_gradients(cudaStream_t stream, std::span<const int64_t* const> bins, double max_norm,
                    const float* loss_scale, const float* loss, float* norm, float* factor, int32_t* apply,
                    int32_t* adam_step);
void adamw(cudaStream_t stream, DType compute_dtype, int64_t n, const AdamWParameters& parameters, const float* lr,
           const float* factor, const int32_t* apply, const int32_t* step, const float* grad, float* master,
           float* m, float* v, void* compute);

// --- products without cuBLASLt
// --------------------------------------------------------------------------------------

// C [m, n] (+)= A [m, k] * B [k, n]: element (i, j) of each at data[i * row_stride + j * column_stride].
struct ConstMatrix {
  const void* data;
  int64_t row_stride, column_stride;
};
void plain_product(cudaStream_t stream, DType in, DType out, int64_t m, int64_t n, int64_t k, ConstMatrix a,
                   ConstMatrix b, Rows c, bool accumulate);

}  // namespace trine::cuda
