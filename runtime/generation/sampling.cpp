#include "runtime/generation/sampling.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/rng.h"

namespace trine {
namespace {

struct Candidate {
  int32_t id = 0;
  float logit = 0;
  double weight = 0;  // not normalised
};

bool more_likely(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

double total_weight(std::span<const Candidate> candidates) {
  double sum = 0;
  for (const Candidate& c : candidates) sum += c.weight;
  return sum;
}

void keep_top_k(std::vector<Candidate>& candidates, int64_t k) {
  if (k == 0 || k >= std::ssize(candidates)) return;
  std::nth_element(candidates.begin(), candidates.begin() + k, candidates.end(), more_likely);
  candidates.resize(static_cast<size_t>(k));
}

void keep_top_p(std::vector<Candidate>& candidates, double p) {
  if (p >= 1) return;
  // Those below (1 - p) / n together weigh less than 1 - p: the rest reaches p, and little is left to sort.
  const double total = total_weight(candidates), least = (1 - p) / static_cast<double>(candidates.size()) * total;
  std::erase_if(candidates, [least](const Candidate& c) { return c.weight < least; });
  std::sort(candidates.begin(), candidates.end(), more_likely);
  double sum = 0;
  size_t count = 0;
  while (count < candidates.size() && sum < p * total) sum += candidates[count++].weight;
  candidates.resize(std::max<size_t>(count, 1));
}

}  // namespace

int32_t sample_token(std::span<const float> logits, const SamplingOptions& options, int64_t position) {
  const auto bad = std::find_if(logits.begin(), logits.end(), [](float x) { return !std::isfinite(x); });
  if (bad != logits.end())
    throw NonFiniteError(fmt::format("[generate] the logit of token {} at position {} is {}.", bad - logits.begin(),
                                     position, *bad));
  const auto best = std::max_element(logits.begin(), logits.end());
  if (options.greedy) return static_cast<int32_t>(best - logits.begin());

  std::vector<Candidate> candidates(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    candidates[i] = {static_cast<int32_t>(i), logits[i],
                     std::exp((static_cast<double>(logits[i]) - static_cast<double>(*best)) / options.temperature)};
  keep_top_k(candidates, options.top_k);
  keep_top_p(candidates, options.top_p);
  // By id, so that a last bit that differs between layouts cannot swap two tokens.
  std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  static const uint64_t stream = stream_of("generate");
  double rest =
      std::ldexp(static_cast<double>(random_u64(options.seed, stream, static_cast<uint64_t>(position)) >> 11),
                 -53) *
      total_weight(candidates);
  for (const Candidate& c : candidates)
    if ((rest -= c.weight) < 0) return c.id;
  return candidates.back().id;
}

}  // namespace trine
