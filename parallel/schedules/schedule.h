// A schedule is data: for each pipeline rank, the order in which it works on stages and microbatches.
#pragma once

#include <string>
#include <vector>

namespace trine {

enum class ActionKind : char { kForward = 'F', kInputGrad = 'I', kWeightGrad = 'W', kBackward = 'B' };  // B = I + W

struct Action {
  int stage = 0;
  ActionKind kind = ActionKind::kForward;
  int microbatch = 0;
  bool operator==(const Action&) const = default;
};

using Schedule = std::vector<Action>;  // of one pipeline rank

std::string to_string(const Action& action);  // "2F0"
std::string to_string(const Schedule& schedule);

// One forward, one backward (Narayanan et al. 2021, PipeDream-flush): stage s of S runs S - s - 1 forwards ahead.
Schedule one_forward_one_backward(int stage, int num_stages, int num_microbatches);

}  // namespace trine
