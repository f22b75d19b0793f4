// From logits to the next token.
#pragma once

#include <cstdint>
#include <span>

namespace trine {

// Applied in this order, as Hugging Face does: temperature, the K most likely tokens, the fewest tokens whose
// probability reaches P.
struct SamplingOptions {
  bool greedy = false;  // the most likely token; the rest does not matter
  double temperature = 1;
  int64_t top_k = 0;  // 0: all
  double top_p = 1;
  uint64_t seed = 1234;
};

// The token that follows at `position` (its own, counted from the sequence's start): a pure function of the logits,
// the options and the position. Of equal logits the lower id comes first. REQUIRES: temperature > 0, top_k >= 0,
// 0 < top_p <= 1. NonFiniteError if a logit is infinite or NaN.
int32_t sample_token(std::span<const float> logits, const SamplingOptions& options, int64_t position);

}  // namespace trine
