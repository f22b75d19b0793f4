#include "parallel/schedules/execute.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/error.h"

namespace trine {
namespace {

bool is_backward(const Action& action) {
  return action.kind == ActionKind::kBackward || action.kind == ActionKind::kInputGrad;
}

std::vector<int> owners_of_stages(const std::vector<Schedule>& schedules) {
  std::vector<int> owners(static_cast<size_t>(count_stages(schedules)), -1);
  for (size_t r = 0; r < schedules.size(); ++r)
    for (const Action& a : schedules[r]) owners[static_cast<size_t>(a.stage)] = static_cast<int>(r);
  return owners;
}

// The rank to which an action of `rank` sends its output; nullopt if it stays here.
std::optional<int> receiver(int rank, const Action& a, const std::vector<int>& owners) {
  if (a.kind == ActionKind::kWeightGrad) return std::nullopt;
  const int stage = a.stage + (a.kind == ActionKind::kForward ? 1 : -1);
  if (stage < 0 || stage == static_cast<int>(owners.size())) return std::nullopt;
  const int to = owners[static_cast<size_t>(stage)];
  return to == rank || to < 0 ? std::nullopt : std::optional(to);
}

// Where an action stands, and when the send and the receive of its message were posted.
struct Node {
  int rank = 0, index = 0;
  std::optional<double> sent, expected;
  std::optional<double> received() const {
    if (!sent || !expected) return std::nullopt;
    return std::max(*sent, *expected);
  }
};

// Messages of one direction from rank to rank, by the actions that make them, in the order in which each side
// posted them.
struct Edge {
  std::vector<Action> sends, receives;
};

// What the next action of a rank needs first: known with its time, or not known yet, and why.
struct Ready {
  double time = 0;
  std::string missing;
};

class Run {
 public:
  Run(const std::vector<Schedule>& schedules, const std::vector<StageCost>& costs, const ExecuteOptions& options);
  Execution finish();

 private:
  struct Rank {
    int next = 0, receives = 0;  // actions
    double time = 0;
  };
  struct Input {
    Action action;
    Node* node;  // null: no rank has that action
  };

  Input input(int stage, std::initializer_list<ActionKind> kinds, int microbatch);
  std::vector<Input> inputs(const Action& action);
  Ready sends_done(int rank);
  Ready inputs_done(int rank);
  bool post_receives(int rank, double time);
  void post_send(int rank, const Action& action);
  void compare(int from, int to, const Edge& edge) const;
  bool advance(int rank);
  std::string deadlock();

  const std::vector<Schedule>& schedules_;
  const std::vector<StageCost>& costs_;
  const int receives_ahead_, num_stages_;
  std::map<std::tuple<int, ActionKind, int>, Node> nodes_;
  std::vector<int> owners_;                                  // rank by stage, -1: none
  std::map<std::pair<int, int>, std::vector<int>> awaited_;  // (rank, action) -> its earlier sends
  std::map<std::tuple<int, int, bool>, Edge> edges_;         // (from, to, backward)
  std::vector<Rank> ranks_;
  Execution result_;
};

Run::Run(const std::vector<Schedule>& schedules, const std::vector<StageCost>& costs, const ExecuteOptions& options)
    : schedules_(schedules),
      costs_(costs),
      receives_ahead_(options.receives_ahead),
      num_stages_(count_stages(schedules)),
      owners_(owners_of_stages(schedules)),
      ranks_(schedules.size()) {
  TRINE_CHECK(costs.size() == owners_.size(), "{} costs for {} stages", costs.size(), owners_.size());
  for (size_t r = 0; r < schedules.size(); ++r) {
    for (size_t i = 0; i < schedules[r].size(); ++i) {
      const Action& a = schedules[r][i];
      nodes_.try_emplace({a.stage, a.kind, a.microbatch}, Node{static_cast<int>(r), static_cast<int>(i)});
    }
    result_.spans.emplace_back(schedules[r].size());
  }
  for (const SendWait& wait : options.waits) {
    const Action& sender = schedules.at(static_cast<size_t>(wait.rank)).at(static_cast<size_t>(wait.send));
    TRINE_CHECK(wait.send < wait.action && receiver(wait.rank, sender, owners_),
                "rank {}: action {} waits for {}, which sends nothing before it", wait.rank, wait.action,
                to_string(sender));
    awaited_[{wait.rank, wait.action}].push_back(wait.send);
  }
}

// The first of these actions that a rank has.
Run::Input Run::input(int stage, std::initializer_list<ActionKind> kinds, int microbatch) {
  for (const ActionKind kind : kinds) {
    const auto found = nodes_.find({stage, kind, microbatch});
    if (found != nodes_.end()) return {{stage, kind, microbatch}, &found->second};
  }
  return {{stage, *kinds.begin(), microbatch}, nullptr};
}

std::vector<Run::Input> Run::inputs(const Action& a) {
  using enum ActionKind;
  std::vector<Input> list;
  if (a.kind == kForward) {
    if (a.stage > 0) list.push_back(input(a.stage - 1, {kForward}, a.microbatch));
  } else if (a.kind == kWeightGrad) {
    list.push_back(input(a.stage, {kInputGrad}, a.microbatch));
  } else {
    list.push_back(input(a.stage, {kForward}, a.microbatch));
    if (a.stage + 1 < num_stages_) list.push_back(input(a.stage + 1, {kBackward, kInputGrad}, a.microbatch));
  }
  return list;
}

Ready Run::sends_done(int rank) {
  const Schedule& schedule = schedules_[static_cast<size_t>(rank)];
  const int next = ranks_[static_cast<size_t>(rank)].next;
  Ready ready{ranks_[static_cast<size_t>(rank)].time};
  const auto awaited = awaited_.find({rank, next});
  if (awaited == awaited_.end()) return ready;
  for (const int send : awaited->second) {
    const Action& a = schedule[static_cast<size_t>(send)];
    const auto received = nodes_.at({a.stage, a.kind, a.microbatch}).received();
    if (!received)
      return {0, fmt::format("its message {} to be received, whose buffer is used again", to_string(a))};
    ready.time = std::max(ready.time, *received);
  }
  return ready;
}

Ready Run::inputs_done(int rank) {
  const Rank& state = ranks_[static_cast<size_t>(rank)];
  Ready ready{state.time};
  for (const Input& in : inputs(schedules_[static_cast<size_t>(rank)][static_cast<size_t>(state.next)])) {
    if (!in.node) return {0, to_string(in.action) + ", which no rank runs"};
    if (in.node->rank == rank) {
      if (in.node->index >= state.next)
        return {0, to_string(in.action) + ", which stands later in its own schedule"};
    } else {
      const auto received = in.node->received();
      if (!received) return {0, fmt::format("{} from rank {}", to_string(in.action), in.node->rank)};
      ready.time = std::max(ready.time, *received);
    }
  }
  return ready;
}

// Posts the receives of the next action and of those ahead; false if all are posted already.
bool Run::post_receives(int rank, double time) {
  Rank& state = ranks_[static_cast<size_t>(rank)];
  const Schedule& schedule = schedules_[static_cast<size_t>(rank)];
  const int end = std::min(state.next + receives_ahead_ + 1, static_cast<int>(schedule.size()));
  if (state.receives == end) return false;
  for (; state.receives < end; ++state.receives) {
    for (const Input& in : inputs(schedule[static_cast<size_t>(state.receives)])) {
      if (!in.node || in.node->rank == rank) continue;
      in.node->expected = time;
      Edge& edge = edges_[{in.node->rank, rank, is_backward(in.action)}];
      edge.receives.push_back(in.action);
      compare(in.node->rank, rank, edge);
    }
  }
  return true;
}

void Run::post_send(int rank, const Action& a) {
  const auto to = receiver(rank, a, owners_);
  if (!to) return;
  nodes_.at({a.stage, a.kind, a.microbatch}).sent = ranks_[static_cast<size_t>(rank)].time;
  Edge& edge = edges_[{rank, *to, is_backward(a)}];
  edge.sends.push_back(a);
  compare(rank, *to, edge);
}

// A send has met a receive: are they of the same message?
void Run::compare(int from, int to, const Edge& edge) const {
  const size_t last = std::min(edge.sends.size(), edge.receives.size());
  if (last == 0 || edge.sends[last - 1] == edge.receives[last - 1]) return;
  throw ConfigError(
      fmt::format("[schedule] message {} from rank {} to rank {} is {}, but there the receive of {} is posted. "
                  "Both ranks must run the "
                  "microbatches of this edge in the same order.",
                  last - 1, from, to, to_string(edge.sends[last - 1]), to_string(edge.receives[last - 1])));
}

// Runs a rank's next action if it can; false if nothing changed.
bool Run::advance(int rank) {
  const auto r = static_cast<size_t>(rank);
  Rank& state = ranks_[r];
  if (state.next == static_cast<int>(schedules_[r].size())) return false;
  const Ready buffers = sends_done(rank);
  if (!buffers.missing.empty()) return false;
  const bool posted = post_receives(rank, buffers.time);
  const Ready ready = inputs_done(rank);
  if (!ready.missing.empty()) return posted;

  const auto next = static_cast<size_t>(state.next);
  const Action& action = schedules_[r][next];
  const double start = std::max(buffers.time, ready.time);
  state.time = start + costs_[static_cast<size_t>(action.stage)].of(action.kind);
  result_.spans[r][next] = {start, state.time};
  result_.end = std::max(result_.end, state.time);
  post_send(rank, action);
  ++state.next;
  return true;
}

std::string Run::deadlock() {
  std::string text =
      "[schedule] deadlock: no rank can go on. Change the order of the actions, or what they wait for.";
  for (size_t r = 0; r < ranks_.size(); ++r) {
    const auto next = static_cast<size_t>(ranks_[r].next);
    if (next == schedules_[r].size()) {
      text += fmt::format("\n  rank {} is done", r);
      continue;
    }
    const Ready buffers = sends_done(static_cast<int>(r));
    text += fmt::format("\n  rank {} at {} (action {} of {}) waits for {}", r, to_string(schedules_[r][next]), next,
                        schedules_[r].size(),
                        buffers.missing.empty() ? inputs_done(static_cast<int>(r)).missing : buffers.missing);
  }
  return text;
}

Execution Run::finish() {
  for (bool moved = true; moved;) {
    moved = false;
    for (int rank = 0; rank < static_cast<int>(ranks_.size()); ++rank)
      while (advance(rank)) moved = true;
  }
  for (size_t r = 0; r < ranks_.size(); ++r)
    if (ranks_[r].next < static_cast<int>(schedules_[r].size())) throw ConfigError(deadlock());
  return std::move(result_);
}

}  // namespace

double StageCost::of(ActionKind kind) const {
  switch (kind) {
    case ActionKind::kForward:
      return forward;
    case ActionKind::kInputGrad:
      return input_grad;
    case ActionKind::kWeightGrad:
      return weight_grad;
    case ActionKind::kBackward:
      return input_grad + weight_grad;
  }
  TRINE_CHECK(false, "unknown kind of action");
}

Execution execute(const std::vector<Schedule>& schedules, const std::vector<StageCost>& costs,
                  const ExecuteOptions& options) {
  return Run(schedules, costs, options).finish();
}

int count_stages(const std::vector<Schedule>& schedules) {
  int last = -1;
  for (const Schedule& schedule : schedules)
    for (const Action& action : schedule) last = std::max(last, action.stage);
  return last + 1;
}

double bubble_fraction(const std::vector<Schedule>& schedules, const std::vector<StageCost>& costs) {
  const Execution run = execute(schedules, costs);
  double busy = 0;
  for (const auto& spans : run.spans)
    for (const Span& span : spans) busy += span.end - span.start;
  return run.end > 0 ? 1 - busy / (run.end * static_cast<double>(schedules.size())) : 0;
}

std::vector<SendWait> waits_for_send_buffers(const std::vector<Schedule>& schedules, int buffers) {
  const std::vector<int> owners = owners_of_stages(schedules);
  std::vector<SendWait> waits;
  for (int rank = 0; rank < static_cast<int>(schedules.size()); ++rank) {
    const Schedule& schedule = schedules[static_cast<size_t>(rank)];
    std::map<std::pair<int, bool>, std::vector<int>> sends;  // (to, backward) -> actions
    for (int i = 0; i < static_cast<int>(schedule.size()); ++i) {
      const Action& action = schedule[static_cast<size_t>(i)];
      const auto to = receiver(rank, action, owners);
      if (!to) continue;
      auto& before = sends[{*to, is_backward(action)}];
      if (before.size() >= static_cast<size_t>(buffers)) waits.push_back({rank, i, *(before.end() - buffers)});
      before.push_back(i);
    }
  }
  return waits;
}

}  // namespace trine
