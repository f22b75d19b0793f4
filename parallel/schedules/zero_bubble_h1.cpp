#include <algorithm>

#include "parallel/schedules/schedule.h"

namespace trine {

Schedule zero_bubble_h1(int stage, int num_stages, int num_microbatches) {
  Schedule schedule;
  const auto add = [&](ActionKind kind, int microbatch) { schedule.push_back({stage, kind, microbatch}); };
  int forward = 0, weight = 0;
  while (forward < std::min(num_stages - 1 - stage, num_microbatches)) add(ActionKind::kForward, forward++);
  for (int m = 0; m < num_microbatches; ++m) {
    if (forward < num_microbatches) add(ActionKind::kForward, forward++);
    add(ActionKind::kInputGrad, m);
    // Stage s keeps W s microbatches behind I: all stages have num_stages in flight,
    // and W left for the end of the step.
    if (m >= stage) add(ActionKind::kWeightGrad, weight++);
  }
  while (weight < num_microbatches) add(ActionKind::kWeightGrad, weight++);
  return schedule;
}

}  // namespace trine
