#include <algorithm>

#include "base/error.h"
#include "parallel/schedules/schedule.h"

namespace trine {
namespace {

int num_rounds(int pp, int num_microbatches) { return std::max(1, num_microbatches / pp); }
bool takes(int pp, int num_microbatches) { return num_microbatches % num_rounds(pp, num_microbatches) == 0; }

}  // namespace

std::optional<std::string> interleaved_problem(int pp, int num_microbatches) {
  if (takes(pp, num_microbatches)) return std::nullopt;
  int below = num_microbatches, above = num_microbatches;
  while (!takes(pp, below)) --below;
  while (!takes(pp, above)) ++above;
  return fmt::format(
      "{0} microbatches do not split into {1} equal rounds of at least pp = {2}. The nearest counts that do are "
      "{3} and {4}: change --global-batch or --micro-batch, or take another --schedule.",
      num_microbatches, num_rounds(pp, num_microbatches), pp, below, above);
}

Schedule interleaved_one_forward_one_backward(int rank, int pp, int vpp, int num_microbatches) {
  if (const auto problem = interleaved_problem(pp, num_microbatches)) throw ConfigError("[schedule] " + *problem);
  const int round = num_microbatches / num_rounds(pp, num_microbatches);
  // A rank's i-th forward or backward: a round of microbatches on one chunk,
  // the same on the next, then the next round.
  const auto action = [&](ActionKind kind, int i) {
    const int turn = i / round % vpp;
    const int chunk = kind == ActionKind::kForward ? turn : vpp - 1 - turn;
    return Action{chunk * pp + rank, kind, i / (round * vpp) * round + i % round};
  };
  const int total = vpp * num_microbatches;
  const int ahead = std::min((vpp - 1) * round + 2 * (pp - 1 - rank), total);
  Schedule schedule;
  for (int i = 0; i < ahead; ++i) schedule.push_back(action(ActionKind::kForward, i));
  for (int i = ahead; i < total; ++i) {
    schedule.push_back(action(ActionKind::kForward, i));
    schedule.push_back(action(ActionKind::kBackward, i - ahead));
  }
  for (int i = total - ahead; i < total; ++i) schedule.push_back(action(ActionKind::kBackward, i));
  return schedule;
}

}  // namespace trine
