#include "parallel/stages.h"

#include <algorithm>

#include "base/error.h"

namespace trine {

// Layers are alike, so handing each to the stage that is cheapest with it is optimal.
std::vector<Stage> split_layers(int64_t num_layers, int num_stages, const LayerCosts& costs) {
  TRINE_CHECK(num_stages >= 1 && num_layers >= num_stages, "{} layers over {} stages", num_layers, num_stages);
  std::vector<int64_t> layers(static_cast<size_t>(num_stages), 1);
  const auto cost_with_one_more = [&](size_t stage) {
    return static_cast<double>(layers[stage] + 1) * costs.layer + (stage == 0 ? costs.embedding : 0) +
           (stage + 1 == layers.size() ? costs.head : 0);
  };
  for (int64_t left = num_layers - num_stages; left > 0; --left) {
    size_t cheapest = layers.size() - 1;
    for (size_t stage = layers.size(); stage-- > 0;)
      if (cost_with_one_more(stage) < cost_with_one_more(cheapest)) cheapest = stage;
    ++layers[cheapest];
  }
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
