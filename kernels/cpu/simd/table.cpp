#include "kernels/cpu/simd/kernels.h"

namespace trine::cpu::TRINE_ISA {

#define TRINE_ENTRY(name) .name = name,
extern const SimdFunctions kFunctions;
const SimdFunctions kFunctions = {TRINE_SIMD_FUNCTIONS(TRINE_ENTRY)};
#undef TRINE_ENTRY

}  // namespace trine::cpu::TRINE_ISA
