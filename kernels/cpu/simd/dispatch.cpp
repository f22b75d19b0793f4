// Compiled for the baseline only: it runs before it is known what the machine has.
#include <cmath>
#include <cpuid.h>
#include <cstdlib>
#include <fmt/core.h>
#include <limits>
#include <string>

#include "base/error.h"
#include "kernels/cpu/simd/functions.h"

namespace trine::cpu {

namespace portable {
extern const SimdFunctions kFunctions;
}
namespace avx2 {
extern const SimdFunctions kFunctions;
}
namespace avx512 {
extern const SimdFunctions kFunctions;
}
namespace avx512bf16 {
extern const SimdFunctions kFunctions;
}

std::string_view name(Isa isa) {
  switch (isa) {
    case Isa::kPortable:
      return "portable";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Bf16:
      return "avx512bf16";
  }
  return "?";
}

// clang 14 has no check for it. Its registers are AVX2's.
static bool has_f16c() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

std::vector<Isa> available_isas() {
  std::vector<Isa> list = {Isa::kPortable};
  // The compiler's checks include that the operating system saves the registers.
  if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())) return list;
  list.push_back(Isa::kAvx2);
  if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")))
    return list;
  list.push_back(Isa::kAvx512);
  if (__builtin_cpu_supports("avx512bf16")) list.push_back(Isa::kAvx512Bf16);
  return list;
}

Isa best_isa() {
  const std::vector<Isa> available = available_isas();
  const char* wanted = std::getenv("TRINE_ISA");
  if (wanted == nullptr || *wanted == '\0') return available.back();
  std::string names;
  for (Isa isa : available) {
    if (name(isa) == wanted) return isa;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", name(isa));
  }
  throw ConfigError(fmt::format(
      "[cpu] TRINE_ISA={}, but this machine runs {}. Set it to one of these, or unset it.", wanted, names));
}

namespace {

bool has_amx_bf16() {
  unsigned a, b, c, d;
  constexpr unsigned kOsSavesState = 1u << 27, kAmxBf16 = 1u << 22, kAmxState = 3u << 17;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & kOsSavesState)) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & kAmxBf16)) return false;
  unsigned saved, high;
  __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  return (saved & kAmxState) == kAmxState;
}

}  // namespace

NativeBf16 fastest_bf16() {
  const bool fast_pairs = __builtin_cpu_supports("avx512bf16") && !__builtin_cpu_is("intel");
  return {.products = fast_pairs || has_amx_bf16(), .attention = fast_pairs};
}

const SimdFunctions& simd_functions(Isa isa) {
  switch (isa) {
    case Isa::kPortable:
      return portable::kFunctions;
    case Isa::kAvx2:
      return avx2::kFunctions;
    case Isa::kAvx512:
      return avx512::kFunctions;
    case Isa::kAvx512Bf16:
      return avx512bf16::kFunctions;
  }
  TRINE_CHECK(false, "no such instruction set: {}", static_cast<int>(isa));
  return portable::kFunctions;
}

double squared_norm_value(const int64_t* bins) {
  if (bins[64] != 0) return std::numeric_limits<double>::infinity();
  double sum = 0;
  for (int i = 0; i < 64; ++i) sum += std::ldexp(static_cast<double>(bins[i]), 4 * i - 150);
  return sum;
}

}  // namespace trine::cpu
