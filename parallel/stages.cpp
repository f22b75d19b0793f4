#include "parallel/stages.h"

#include <algorithm>
#include <optional>

#include "base/error.h"

namespace trine {

namespace {

double cost_of(const LayerCosts& costs, const std::vector<int64_t>& layers, size_t stage) {
  return static_cast<double>(layers[stage]) * costs.layer + (stage == 0 ? costs.embedding : 0) +
         (stage + 1 == layers.size() ? costs.head : 0);
}

// How many layers each stage holds. Layers are alike, so handing each to the stage that is cheapest with it makes the
// dearest as cheap as can be, among stages that `may_hold` one more.
template <typename MayHold>
std::vector<int64_t> hand_out(int64_t num_layers, int num_stages, const LayerCosts& costs, MayHold may_hold) {
  std::vector<int64_t> layers(static_cast<size_t>(num_stages), 1);
  for (int64_t left = num_layers - num_stages; left > 0; --left) {
    std::optional<size_t> cheapest;
    double least = 0;
    for (size_t stage = layers.size(); stage-- > 0;) {
      ++layers[stage];
      const double cost = cost_of(costs, layers, stage);
      if (may_hold(layers, stage) && (!cheapest || cost < least)) cheapest = stage, least = cost;
      --layers[stage];
    }
    TRINE_CHECK(cheapest, "no stage may hold one of {} layers that are left", left);
    ++layers[*cheapest];
  }
  return layers;
}

}  // namespace

std::vector<Stage> split_layers(int64_t num_layers, int num_stages, const LayerCosts& time,
                                const LayerCosts& memory) {
  TRINE_CHECK(num_stages >= 1 && num_layers >= num_stages, "{} layers over {} stages", num_layers, num_stages);
  const auto any = [](const std::vector<int64_t>&, size_t) { return true; };
  const std::vector<int64_t> quickest = hand_out(num_layers, num_stages, time, any);
  double longest = 0;
  for (size_t stage = 0; stage < quickest.size(); ++stage)
    longest = std::max(longest, cost_of(time, quickest, stage));
  const auto as_quick = [&](const std::vector<int64_t>& layers, size_t stage) {
    return cost_of(time, layers, stage) <= longest;
  };
  const std::vector<int64_t> layers = hand_out(num_layers, num_stages, memory, as_quick);
  std::vector<Stage> stages;
  int64_t first = 0;
  for (int i = 0; i < num_stages; ++i) {
    const int64_t end = first + layers[static_cast<size_t>(i)];
    stages.push_back({i, num_stages, first, end});
    first = end;
  }
  return stages;
}

}  // namespace trine
