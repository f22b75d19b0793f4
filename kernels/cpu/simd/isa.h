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

// Where bf16 operands are multiplied as they are; elsewhere they are widened to f32.
struct NativeBf16 {
  bool products = false;   // by oneDNN
  bool attention = false;  // by vdpbf16ps
};
// What is faster on this machine. vdpbf16ps does twice the FLOPs of an f32 fma on AMD's cores since Zen 4; Intel's
// do no more with it, and oneDNN's products are slower than in f32, unless they have AMX.
NativeBf16 fastest_bf16();

struct SimdFunctions;
// REQUIRES: isa is one of available_isas(). The table lives as long as the program.
const SimdFunctions& simd_functions(Isa isa);

}  // namespace trine::cpu
