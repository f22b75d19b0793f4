// A schedule is data: for each pipeline rank, the order in which it works on stages and microbatches. What makes
// one is a pure function with a file of its own; check.h checks it, timing.h times it, picture.h draws it.
//
// pp ranks hold vpp chunks of the model each; stage = chunk * pp + rank.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
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
// Reads what to_string() writes; any white space separates actions. ConfigError names the position (from 1).
Schedule parse_schedule(std::string_view text);

enum class PipelineKind { kGpipe, k1F1B, kInterleaved, kZeroBubble };

// One schedule per rank. REQUIRES: vpp = 1, unless interleaved.
// ConfigError where the kind does not take `microbatches`.
std::vector<Schedule> make_schedules(PipelineKind kind, int pp, int vpp, int microbatches);

// The share of the ranks' time in which they idle, in theory: equal stages, F = I = W, messages without time.
struct IdealBubble {
  double share = 0;
  std::string_view formula;  // "(p-1)/(m+p-1)"
};
IdealBubble ideal_bubble(PipelineKind kind, int pp, int vpp, int64_t microbatches);

// All forwards, then all backwards (Huang et al. 2019): every microbatch is in flight.
Schedule gpipe(int stage, int num_microbatches);

// One forward, one backward (Narayanan et al. 2021, PipeDream-flush): stage s of S runs S - s - 1 forwards ahead.
Schedule one_forward_one_backward(int stage, int num_stages, int num_microbatches);

// Interleaved 1F1B (Narayanan et al. 2021, section 2.2): a rank takes turns on its vpp chunks, a round of
// microbatches each, and the bubble shrinks by vpp. Rounds are those of PyTorch,
// which need not have pp microbatches.
Schedule interleaved_one_forward_one_backward(int rank, int pp, int vpp, int num_microbatches);
// Why interleaved cannot take that many microbatches, with the nearest counts that it takes; nullopt if it can.
std::optional<std::string> interleaved_problem(int pp, int num_microbatches);

// ZB-H1 (Qi et al. 2023): 1F1B whose backward is split, so that weight gradients fill the bubble. Every rank keeps
// at most min(S, m) microbatches from F to W: what the first stage of 1F1B keeps.
Schedule zero_bubble_h1(int stage, int num_stages, int num_microbatches);

}  // namespace trine
