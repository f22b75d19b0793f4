// The arithmetic of reductions: elementwise over the contributions of the ranks of a group.
#pragma once

#include <cstdint>
#include <span>

#include "base/dtype.h"

namespace trine {

enum class ReduceOp : uint8_t { kSum, kMax };

// out[i] = contributions[0][i] op contributions[1][i] op ..., in this order, `count` elements each. Floats are
// added in f32 and rounded once; integers exactly. The maximum of anything and NaN is NaN. `out` may be one of the
// contributions. REQUIRES: at least one contribution; dtype is not u8.
void reduce(ReduceOp op, DType dtype, std::span<const void* const> contributions, void* out, int64_t count);

// Between f32 and bf16, rounding to nearest even.
void narrow(const float* from, std::span<BFloat16> to);
void widen(std::span<const BFloat16> from, float* to);

}  // namespace trine
