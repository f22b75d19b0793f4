#include <cstdlib>

#include "base/error.h"
#include "tests/kernels/simd_testing.h"

namespace trine::cpu::simd_test {
namespace {

class Environment {
 public:
  explicit Environment(const char* value) { setenv("TRINE_ISA", value, 1); }
  ~Environment() { unsetenv("TRINE_ISA"); }
};

TEST(SimdIsa, TheBestIsTheLastAvailable) {
  unsetenv("TRINE_ISA");
  EXPECT_EQ(available_isas().front(), Isa::kPortable);
  EXPECT_EQ(best_isa(), available_isas().back());
}

TEST(SimdIsa, TheEnvironmentChooses) {
  for (Isa isa : available_isas()) {
    const Environment environment(std::string(name(isa)).c_str());
    EXPECT_EQ(best_isa(), isa);
  }
}

TEST(SimdIsa, AnUnknownNameIsAConfigError) {
  const Environment environment("avx3");
  try {
    best_isa();
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("TRINE_ISA=avx3"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("portable"), std::string::npos);
  }
}

TEST(SimdIsa, EachLevelHasItsOwnFunctions) {
  const std::vector<Isa> isas = available_isas();
  for (size_t i = 1; i < isas.size(); ++i)
    EXPECT_NE(simd_functions(isas[i - 1]).swiglu, simd_functions(isas[i]).swiglu);
}

}  // namespace
}  // namespace trine::cpu::simd_test
