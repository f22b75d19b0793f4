// What the checks of a LlamaConfig share: the flags' (llama_config.cpp) and config.json's
// (hugging_face_config.cpp).
#pragma once

#include <array>

#include "models/llama_config.h"

namespace trine {

// The limits are far above any published model; below them no product of sizes leaves 64 bits.
struct SizeField {
  int64_t LlamaConfig::*member;
  const char* flag;
  const char* hugging_face;
  int64_t max;
};
extern const std::array<SizeField, 7> kSizeFields;

inline constexpr double kMaxNormEps = 1;
inline constexpr double kMaxRopeTheta = 1e15;
inline constexpr double kMaxInitStd = 100;
inline constexpr double kMaxRopeFactor = 1e6;
inline constexpr int64_t kMaxPosition = int64_t{1} << 31;

// The checks between fields: heads and kv heads, head dim, RoPE scaling.
void validate_relations(const LlamaConfig& config, const std::string& where, Problems& problems);

}  // namespace trine
