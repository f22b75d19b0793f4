// Which instruction set the vectorised kernels use. Every kernel source of this folder is compiled once per level.
#pragma once

#include <string_view>
#include <vector>

namespace trine::cpu {

// In rising order: a machine that has one has those before it.
enum class Isa { kPortable, kAvx2, kAvx512, kAvx512Bf16 };

std::string_view name(Isa isa);  // "portable", "avx2", "avx512", "avx512bf16"

// What this machine can run, in rising order; never empty.
std::vector<Isa> available_isas();

// The highest available level, or the one that the environment variable TRINE_ISA names. ConfigError if that is not
// a level or the machine lacks it.
Isa best_isa();

struct SimdFunctions;
// REQUIRES: isa is one of available_isas(). The table lives as long as the program.
const SimdFunctions& simd_functions(Isa isa);

}  // namespace trine::cpu
