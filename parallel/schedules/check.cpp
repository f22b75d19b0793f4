#include "parallel/schedules/check.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/error.h"

namespace trine {
namespace {

// What runs of each (stage, microbatch), in order: "FB" or "FIW".
using StageProgress = std::map<std::pair<int, int>, std::string>;

bool accumulates(ActionKind kind) { return kind == ActionKind::kBackward || kind == ActionKind::kWeightGrad; }

// Lists what is run where it must not be; returns what is run.
StageProgress walk(const std::vector<Schedule>& schedules, int num_stages, int num_microbatches,
                   Problems& problems) {
  StageProgress progress;
  std::map<int, int> owner, last_accumulated;  // by stage
  for (int rank = 0; rank < static_cast<int>(schedules.size()); ++rank) {
    for (const Action& a : schedules[static_cast<size_t>(rank)]) {
      if (a.stage < 0 || a.stage >= num_stages || a.microbatch < 0 || a.microbatch >= num_microbatches) {
        problems.add("schedule", "rank {} runs {}, but there are {} stages and {} microbatches.", rank,
                     to_string(a), num_stages, num_microbatches);
        continue;
      }
      const int first_owner = owner.try_emplace(a.stage, rank).first->second;
      if (first_owner != rank)
        problems.add("schedule", "rank {} runs {}, but stage {} is on rank {}.", rank, to_string(a), a.stage,
                     first_owner);
      progress[{a.stage, a.microbatch}] += static_cast<char>(a.kind);
      if (!accumulates(a.kind)) continue;
      const auto [last, first] = last_accumulated.try_emplace(a.stage, a.microbatch);
      if (!first && last->second >= a.microbatch)
        problems.add("schedule",
                     "rank {} runs {} after microbatch {}: a stage must accumulate in increasing order.", rank,
                     to_string(a), last->second);
      last->second = a.microbatch;
    }
  }
  return progress;
}

}  // namespace

void check_schedules(const std::vector<Schedule>& schedules, int num_stages, int num_microbatches) {
  Problems problems;
  StageProgress progress = walk(schedules, num_stages, num_microbatches, problems);
  for (int stage = 0; stage < num_stages; ++stage) {
    for (int m = 0; m < num_microbatches; ++m) {
      const std::string& kinds = progress[{stage, m}];
      if (kinds != "FB" && kinds != "FIW")
        problems.add("schedule",
                     "stage {} runs '{}' on microbatch {}. It must run F, then B (or I, then W), once each.", stage,
                     kinds, m);
    }
  }
  problems.throw_if_any();
}

int max_in_flight(const Schedule& schedule) {
  int now = 0, most = 0;
  for (const Action& action : schedule) {
    if (action.kind == ActionKind::kForward) most = std::max(most, ++now);
    if (accumulates(action.kind)) --now;
  }
  return most;
}

}  // namespace trine
