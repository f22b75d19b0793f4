// Declares the kernels of this instruction set, with the types that functions.h gives them.
#pragma once

#include "kernels/cpu/simd/functions.h"

// clang-format off
#define TRINE_SIMD_FUNCTIONS(X)                                            \
  X(embedding) X(embedding_grad)                                           \
  X(rms_norm) X(add_rms_norm) X(rms_norm_grad) X(rms_norm_grad_scratch_bytes) X(rope)      \
  X(attention_forward) X(attention_forward_scratch_bytes)                  \
  X(attention_backward) X(attention_backward_scratch_bytes)                \
  X(attention_rows) X(attention_rows_scratch_bytes) X(matvec)              \
  X(swiglu) X(swiglu_grad)                                                 \
  X(add) X(cast) X(copy_rows) X(accumulate)                                \
  X(count_non_finite) X(first_non_finite)                                  \
  X(vocab_stats) X(vocab_stats_grad)                                       \
  X(squared_norm_bins) X(adamw)
// clang-format on

namespace trine::cpu::TRINE_ISA {

template <typename Pointer>
struct Pointee;
template <typename Function>
struct Pointee<Function*> {
  using type = Function;
};

#define TRINE_DECLARE(name) Pointee<decltype(SimdFunctions::name)>::type name;
TRINE_SIMD_FUNCTIONS(TRINE_DECLARE)
#undef TRINE_DECLARE

}  // namespace trine::cpu::TRINE_ISA
