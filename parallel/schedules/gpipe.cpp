#include "parallel/schedules/schedule.h"

namespace trine {

Schedule gpipe(int stage, int num_microbatches) {
  Schedule schedule;
  for (int m = 0; m < num_microbatches; ++m) schedule.push_back({stage, ActionKind::kForward, m});
  for (int m = 0; m < num_microbatches; ++m) schedule.push_back({stage, ActionKind::kBackward, m});
  return schedule;
}

}  // namespace trine
