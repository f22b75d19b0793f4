#include "plan/happens_before.h"

#include <algorithm>
#include <set>

#include "plan/step_program.h"

namespace trine {
namespace {

// Each phase of each chunk in the graph's order, for two microbatches: what starts early starts in the last one,
// and stands before a lane's nodes only there.
Schedule two_microbatches(const Graph& graph) {
  Schedule schedule;
  std::set<std::pair<Phase, int>> seen;
  for (const Node& node : graph.nodes()) {
    if (node.region != Region::kMicrobatch || !seen.emplace(node.phase, node.chunk).second) continue;
    const ActionKind kind = node.phase == Phase::kForward     ? ActionKind::kForward
                            : node.phase == Phase::kInputGrad ? ActionKind::kInputGrad
                                                              : ActionKind::kWeightGrad;
    schedule.push_back({node.chunk * graph.mesh().pp, kind, 0});
  }
  for (size_t i = 0, end = schedule.size(); i < end; ++i)
    schedule.push_back({schedule[i].stage, schedule[i].kind, 1});
  return schedule;
}

}  // namespace

class HappensBefore::Walk {
 public:
  Walk(const Graph& graph, HappensBefore& order) : graph_(graph), order_(order) {
    for (size_t n = 0; n < graph.nodes().size(); ++n)
      if (graph.nodes()[n].op->is_view()) views_.push_back(n);
  }

  void visit(const Command& command) {
    const auto node = static_cast<size_t>(command.node);
    if (command.node >= 0 && command.microbatch > 0) return;  // a node's order is that of its first microbatch
    const bool comes_by = command.kind == CommandKind::kRun || command.kind == CommandKind::kEnqueue;
    if (comes_by && graph_.nodes()[node].region == region_) run_views_before(node);
    switch (command.kind) {
      case CommandKind::kAction:
        action_begin_ = now_;
        region_ = command.action < 0       ? Region::kPrologue
                  : command.microbatch < 0 ? Region::kEpilogue
                                           : Region::kMicrobatch;
        return;
      case CommandKind::kRun:
        return run(node);
      case CommandKind::kEnqueue:
        return enqueue(node);
      case CommandKind::kWaitLane:
        return join(now_, node);
      case CommandKind::kPostReceive:
        order_.clock_[node] = now_;
        return;
      case CommandKind::kWaitReceive:
        order_.sequence_[node] = ++issued_[static_cast<size_t>(Lane::kPp)];
        return join(now_, node);
      case CommandKind::kPostSend:  // it never ends here
        order_.clock_[node] = now_;
        return;
      case CommandKind::kWaitSent:
        return;
      case CommandKind::kEnd:
        return run_views_before(graph_.nodes().size());
    }
  }

 private:
  static constexpr size_t index(Lane lane) { return static_cast<size_t>(lane); }

  // What comes after a node.
  void join(Clock& clock, size_t node) const {
    for (size_t l = 0; l < clock.size(); ++l) clock[l] = std::max(clock[l], order_.clock_[node][l]);
    int& own = clock[index(order_.lane_[node])];
    if (order_.sequence_[node] != kNever) own = std::max(own, order_.sequence_[node]);
  }

  void run(size_t node) {
    order_.clock_[node] = now_;
    order_.sequence_[node] = now_[index(Lane::kCompute)] = ++issued_[index(Lane::kCompute)];
  }

  // Views have no command: they count as run before what follows them.
  void run_views_before(size_t node) {
    for (; next_view_ < views_.size() && views_[next_view_] < node; ++next_view_) run(views_[next_view_]);
  }

  void enqueue(size_t node) {
    const size_t lane = index(order_.lane_[node]);
    Clock clock = lane_clock_[lane];
    for (size_t l = 0; l < clock.size(); ++l) clock[l] = std::max(clock[l], action_begin_[l]);
    clock[lane] = issued_[lane];
    for (const NodeId wait : graph_.nodes()[node].waits) join(clock, static_cast<size_t>(wait.index));
    order_.clock_[node] = lane_clock_[lane] = clock;
    order_.sequence_[node] = ++issued_[lane];
  }

  const Graph& graph_;
  HappensBefore& order_;
  Clock now_ = {}, action_begin_ = {};  // of the compute lane
  std::array<Clock, kLanes.size()> lane_clock_ = {};
  std::array<int, kLanes.size()> issued_ = {};
  Region region_ = Region::kPrologue;  // an epilogue's node that starts early stands outside its own
  std::vector<size_t> views_;
  size_t next_view_ = 0;
};

HappensBefore::HappensBefore(const Graph& graph)
    : clock_(graph.nodes().size()), sequence_(graph.nodes().size(), kNever) {
  for (const Node& node : graph.nodes()) lane_.push_back(node.lane);
  Walk walk(graph, *this);
  const StepProgram program(graph, two_microbatches(graph), StepMode::kTrain, false);
  program.for_each([&](const Command& command) { walk.visit(command); });
}

bool HappensBefore::before(NodeId a, NodeId b) const {
  const size_t from = static_cast<size_t>(a.index), to = static_cast<size_t>(b.index);
  return clock_[to][static_cast<size_t>(lane_[from])] >= sequence_[from];
}

HappensBefore::Span HappensBefore::span(std::span<const NodeId> accesses) const {
  Span span;
  span.first.fill(INT32_MAX);
  for (const NodeId id : accesses) {
    const auto node = static_cast<size_t>(id.index);
    int& last = span.last[static_cast<size_t>(lane_[node])];
    last = std::max(last, sequence_[node]);
    for (size_t l = 0; l < span.first.size(); ++l) span.first[l] = std::min(span.first[l], clock_[node][l]);
  }
  return span;
}

}  // namespace trine
