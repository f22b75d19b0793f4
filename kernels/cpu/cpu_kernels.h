// The CPU backend's kernels: matrix products by oneDNN, the rest by the vectorised functions of simd/.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "kernels/cpu/simd/functions.h"
#include "kernels/kernel.h"

namespace trine::cpu {

// cos and sin of position * frequency, f32 [seq, head_dim / 2] each.
struct RopeTable {
  std::vector<float> cos, sin;
};

// What the kernels of one rank share. Kept alive by the kernels.
struct CpuContext {
  CpuContext(Isa isa, int threads, NativeBf16 bf16);

  const SimdFunctions* simd;
  const SimdFunctions* attention;  // tiled attention's: those below kAvx512Bf16 widen bf16 to f32
  Parallel parallel;
  bool native_bf16_products;  // false: they go through f32 (product.h)
  std::map<std::pair<const void*, int64_t>, std::shared_ptr<const RopeTable>>
      rope_tables;  // by frequencies and seq
};
using ContextPtr = std::shared_ptr<CpuContext>;

// All kernels of this backend, at the given instruction set. Below kAvx512Bf16, nothing is native_bf16.
KernelTable make_cpu_kernels(Isa isa, int threads, NativeBf16 native_bf16 = fastest_bf16());

// How many elements of a float operand are infinite or NaN.
int64_t count_non_finite(const SimdFunctions& simd, const TensorView& view, int threads);

// One file per op adds its kernels.
void add_attention(KernelTable& table, const ContextPtr& context);
void add_batch(KernelTable& table, const ContextPtr& context);
void add_cached_attention(KernelTable& table, const ContextPtr& context);
void add_collective(KernelTable& table, const ContextPtr& context);
void add_cross_entropy(KernelTable& table, const ContextPtr& context);
void add_elementwise(KernelTable& table, const ContextPtr& context);
void add_embedding(KernelTable& table, const ContextPtr& context);
void add_linear(KernelTable& table, const ContextPtr& context);
void add_optimizer(KernelTable& table, const ContextPtr& context);
void add_repeat_heads(KernelTable& table, const ContextPtr& context);
void add_rms_norm(KernelTable& table, const ContextPtr& context);
void add_rope(KernelTable& table, const ContextPtr& context);
void add_swiglu(KernelTable& table, const ContextPtr& context);
void add_take_row(KernelTable& table, const ContextPtr& context);

inline ConstRows in(const TensorView& view) { return {view.data, view.row_stride}; }
inline Rows out(const TensorView& view) { return {view.data, view.row_stride}; }

}  // namespace trine::cpu
