#include "plan/step_work.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "parallel/buckets.h"

namespace trine {
namespace {

std::optional<Axis> axis_of(Lane lane) {
  if (lane == Lane::kTp) return Axis::kTp;
  if (lane == Lane::kPp) return Axis::kPp;
  if (lane == Lane::kDp) return Axis::kDp;
  return std::nullopt;
}

// A collective of one rank on its axis sends nothing, and neither does a receive.
bool sends(const Node& node, const Cost& cost) { return axis_of(node.lane).has_value() && cost.wire_bytes > 0; }

}  // namespace

int64_t StepWork::bytes_sent(Axis axis) const {
  int64_t bytes = 0;
  for (const Traffic& t : traffic)
    if (t.axis == axis) bytes += t.bytes;
  return bytes;
}

StepWork step_work(const StagePlan& stage, int64_t num_microbatches) {
  StepWork step;
  std::map<std::pair<Axis, std::string_view>, Traffic> traffic;
  for (size_t n = 0; n < stage.graph.nodes().size(); ++n) {
    const Node& node = stage.graph.nodes()[n];
    const Cost cost = stage.graph.cost({static_cast<int32_t>(n)});
    const int64_t times = node.region == Region::kMicrobatch ? num_microbatches : 1;
    step.flops += cost.flops * static_cast<double>(times);
    if (!sends(node, cost)) continue;
    const Axis axis = *axis_of(node.lane);
    Traffic& t = traffic[{axis, node.op->name()}];
    t.axis = axis, t.op = node.op->name();
    t.count += times, t.bytes += times * cost.wire_bytes;
    t.most_bytes = std::max(t.most_bytes, cost.wire_bytes);
  }
  for (auto& [key, t] : traffic) step.traffic.push_back(std::move(t));
  std::stable_sort(step.traffic.begin(), step.traffic.end(), [](const Traffic& a, const Traffic& b) {
    return std::tuple(a.axis, -a.bytes) < std::tuple(b.axis, -b.bytes);
  });
  return step;
}

int64_t num_parameters(const StagePlan& stage) {
  int64_t count = 0;
  for (const StateId bucket : buckets(stage.graph))
    for (const StateId parameter : parameters_in(stage.graph, bucket))
      count += stage.graph[parameter].type.shape.num_elements();
  return count;
}

std::vector<ActionTimes> action_times(const Plan& plan) {
  std::vector<ActionTimes> times(plan.stages.size() * static_cast<size_t>(plan.config.vpp), ActionTimes{0, 0, 0});
  for (size_t rank = 0; rank < plan.stages.size(); ++rank) {
    const Graph& graph = plan.stages[rank].graph;
    for (size_t n = 0; n < graph.nodes().size(); ++n) {
      const Node& node = graph.nodes()[n];
      if (node.region != Region::kMicrobatch) continue;
      ActionTimes& stage = times[static_cast<size_t>(node.chunk) * plan.stages.size() + rank];
      double& part = node.phase == Phase::kForward     ? stage.forward
                     : node.phase == Phase::kInputGrad ? stage.input_grad
                                                       : stage.weight_grad;
      part += graph.cost({static_cast<int32_t>(n)}).flops;
    }
  }
  double unit = times[0].forward;
  for (const ActionTimes& stage : times) unit = std::min(unit, stage.forward);
  for (ActionTimes& stage : times) stage.forward /= unit, stage.input_grad /= unit, stage.weight_grad /= unit;
  return times;
}

std::vector<Schedule> schedules(const Plan& plan) {
  std::vector<Schedule> list;
  for (const StagePlan& stage : plan.stages) list.push_back(stage.schedule);
  return list;
}

}  // namespace trine
