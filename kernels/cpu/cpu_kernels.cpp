#include "kernels/cpu/cpu_kernels.h"

namespace trine::cpu {

CpuContext::CpuContext(Isa isa, int threads, NativeBf16 bf16)
    : simd(&simd_functions(isa)),
      attention(isa == Isa::kAvx512Bf16 && !bf16.attention ? &simd_functions(Isa::kAvx512) : simd),
      parallel{threads},
      native_bf16_products(isa == Isa::kAvx512Bf16 && bf16.products) {}

KernelTable make_cpu_kernels(Isa isa, int threads, NativeBf16 native_bf16) {
  const auto context = std::make_shared<CpuContext>(isa, threads, native_bf16);
  KernelTable table;
  for (auto* add : {add_attention, add_batch, add_cached_attention, add_collective, add_cross_entropy,
                    add_elementwise, add_embedding, add_linear, add_optimizer, add_repeat_heads, add_rms_norm,
                    add_rope, add_swiglu, add_take_row})
    add(table, context);
  return table;
}

int64_t count_non_finite(const SimdFunctions& simd, const TensorView& view, int threads) {
  return is_float(view.dtype) ? simd.count_non_finite(view.dtype, view.rows, view.columns, in(view), {threads}) : 0;
}

}  // namespace trine::cpu
