#include <algorithm>

#include "parallel/schedules/schedule.h"

namespace trine {

Schedule one_forward_one_backward(int stage, int num_stages, int num_microbatches) {
  Schedule schedule;
  const int ahead = std::min(num_stages - stage - 1, num_microbatches);
  for (int m = 0; m < ahead; ++m) schedule.push_back({stage, ActionKind::kForward, m});
  for (int m = ahead; m < num_microbatches; ++m) {
    schedule.push_back({stage, ActionKind::kForward, m});
    schedule.push_back({stage, ActionKind::kBackward, m - ahead});
  }
  for (int m = num_microbatches - ahead; m < num_microbatches; ++m)
    schedule.push_back({stage, ActionKind::kBackward, m});
  return schedule;
}

}  // namespace trine
