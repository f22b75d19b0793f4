#include "analysis/simulated_costs.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/shape.h"
#include "cluster/cpu_cost.h"
#include "cluster/kernel_cost.h"
#include "ops/collective.h"
#include "ops/pipeline.h"

namespace trine {

std::vector<Shape> shapes_of(const Graph& graph, const std::vector<ValueId>& values) {
  std::vector<Shape> shapes;
  for (const ValueId value : values) shapes.push_back(local_shape(graph[value].type, graph.mesh()));
  return shapes;
}

namespace {

double bytes_of(const TensorType& type, const Mesh& mesh, DType wire) {
  const bool narrowed = type.dtype == DType::kF32 && wire == DType::kBF16;
  return static_cast<double>(local_shape(type, mesh).num_elements()) *
         static_cast<double>(size_bytes(narrowed ? wire : type.dtype));
}

}  // namespace

CommunicationSize size_of(const Graph& graph, const Node& node) {
  const auto* const collective = dynamic_cast<const Collective*>(node.op.get());
  if (collective == nullptr) {
    const ValueId value = node.inputs.empty() ? graph[node.writes[0]].value : node.inputs[0];
    return {CollectiveOp::kAllReduce, bytes_of(graph[value].type, graph.mesh(), graph[value].type.dtype)};
  }
  if (collective->name() == "all_gather") {
    const ValueId written = node.outputs.empty() ? graph[node.writes[0]].value : node.outputs[0];
    return {CollectiveOp::kAllGather, bytes_of(graph[written].type, graph.mesh(), collective->wire)};
  }
  const double bytes = bytes_of(graph[node.inputs[0]].type, graph.mesh(), collective->wire);
  return {collective->name() == "reduce_scatter" ? CollectiveOp::kReduceScatter : CollectiveOp::kAllReduce, bytes};
}

int CpuLayout::hosts_of(std::span<const int> ranks) const {
  std::set<int> hosts;
  for (const int rank : ranks) hosts.insert(rank / ranks_a_host);
  return static_cast<int>(hosts.size());
}

CpuLayout cpu_layout(const Config& config, const CpuProfile& cpu) {
  const int ranks = config.mesh.num_ranks(), hosts = std::max(1, static_cast<int>(cpu.hosts));
  CpuLayout layout{.ranks_a_host = static_cast<int>(div_up(ranks, hosts))};
  const double threads = static_cast<double>(layout.ranks_a_host) * config.threads;
  layout.oversubscribed = threads > cpu.cores;
  layout.busy_cores = std::min(threads, std::max(1.0, cpu.cores));
  layout.lanes_have_cores = threads + layout.ranks_a_host <= cpu.cores;
  return layout;
}

SimulatedCosts::SimulatedCosts(const Plan& plan, const Profile& profile)
    : plan_(plan), profile_(profile), cpu_(profile.is_cpu() ? cpu_layout(plan.config, profile.cpu) : CpuLayout()) {
  for (const StagePlan& stage : plan.stages) {
    const Graph& graph = stage.graph;
    std::map<std::string, double, std::less<>> guessed_s;
    double all_s = 0;
    std::vector<NodeCost>& costs = nodes_.emplace_back();
    for (size_t n = 0; n < graph.nodes().size(); ++n) {
      const Node& node = graph.nodes()[n];
      const Cost cost = graph.cost({static_cast<int32_t>(n)});
      NodeCost& own = costs.emplace_back();
      own.flops = cost.flops, own.bytes = cost.bytes_read + cost.bytes_written, own.wire_bytes = cost.wire_bytes;
      if (node.op->is_transfer()) {
        const ValueId value = node.inputs.empty() ? node.outputs[0] : node.inputs[0];
        own.message_bytes =
            static_cast<int64_t>(bytes_of(graph[value].type, graph.mesh(), graph[value].type.dtype));
      } else if (node.lane == Lane::kCompute) {
        bool guessed = false;
        own.seconds = kernel_seconds(graph, node, cost, guessed);
        const double step_s =
            own.seconds * (node.region == Region::kMicrobatch ? plan.config.num_microbatches() : 1);
        all_s += step_s;
        if (guessed) guessed_s[std::string(node.op->name())] += step_s;
      }
    }
    for (const auto& [op, seconds] : guessed_s) guessed_[op] = std::max(guessed_[op], seconds / all_s);
    collectives_.emplace_back(graph.nodes().size(), -1);
  }
}

std::vector<std::string> SimulatedCosts::not_measured() const {
  constexpr double kCounts = 0.01;
  std::vector<std::string> ops;
  for (const auto& [op, share] : guessed_)
    if (share > kCounts) ops.push_back(op);
  return ops;
}

double SimulatedCosts::kernel_seconds(const Graph& graph, const Node& node, const Cost& cost, bool& guessed) const {
  const Config& config = plan_.config;
  if (!profile_.is_cpu()) {
    const std::vector<Shape> in = shapes_of(graph, node.inputs);
    std::vector<Shape> out = shapes_of(graph, node.outputs);
    for (const auto& written : node.writes)
      out.push_back(local_shape(graph[graph[written].value].type, graph.mesh()));
    return kernel_s(profile_.device, *node.op, in, out, cost, config.dtype);
  }
  if (node.op->is_view()) return 0;
  const CpuSeconds found =
      cpu_op_s(profile_.cpu, node.op->name(), cost, config.dtype, config.threads, cpu_.busy_cores);
  guessed = !found.measured;
  return found.seconds;
}

double SimulatedCosts::cpu_collective_s(int pp, const Collective& collective, DType dtype, CollectiveOp op,
                                        double bytes) const {
  const std::vector<int> ranks = groups_beside(pp, collective.axis)[0];
  const int size = static_cast<int>(ranks.size()), hosts = cpu_.hosts_of(ranks);
  const auto seconds = [&](std::string_view kind) {
    return cpu_transfer_s(profile_.cpu, kind, bytes, size, hosts);
  };
  const bool narrow = dtype == DType::kBF16 || (dtype == DType::kF32 && collective.wire == DType::kBF16);
  if (op == CollectiveOp::kAllGather) return seconds("all_gather");
  if (op == CollectiveOp::kReduceScatter) return seconds(narrow ? "reduce_scatter_bf16" : "reduce_scatter");
  return narrow ? seconds("reduce_scatter_bf16") + seconds("all_gather") : seconds("all_reduce");
}

// The group of (pp, dp 0, tp 0) along an axis, first, and those beside it: other groups of the same axis and
// pipeline rank with a rank on a host of the first.
std::vector<std::vector<int>> SimulatedCosts::groups_beside(int pp, Axis axis) const {
  const Mesh& mesh = plan_.config.mesh;
  const Topology topology(profile_);
  const auto group_of = [&](Coordinate at) {
    std::vector<int> ranks;
    for (int i = 0; i < mesh[axis]; ++i) {
      (axis == Axis::kPp ? at.pp : axis == Axis::kDp ? at.dp : at.tp) = i;
      ranks.push_back(mesh.rank(at));
    }
    return ranks;
  };
  std::vector<std::vector<int>> groups = {group_of({.pp = pp, .dp = 0, .tp = 0})};
  std::set<int> hosts;
  for (const int rank : groups[0]) hosts.insert(topology.host_of(rank));
  for (int dp = 0; dp < mesh.dp; ++dp)
    for (int tp = 0; tp < mesh.tp; ++tp) {
      const Coordinate at{.pp = pp, .dp = dp, .tp = tp};
      if (at[axis] != 0 || (dp == 0 && tp == 0)) continue;
      const std::vector<int> group = group_of(at);
      if (std::ranges::any_of(group, [&](int rank) { return hosts.contains(topology.host_of(rank)); }))
        groups.push_back(group);
    }
  return groups;
}

double SimulatedCosts::collective_s(int pp, int index) {
  double& known = collectives_[static_cast<size_t>(pp)][static_cast<size_t>(index)];
  if (known >= 0) return known;
  const Graph& graph = plan_.stages[static_cast<size_t>(pp)].graph;
  const Node& node = graph[NodeId{index}];
  const auto* const collective = dynamic_cast<const Collective*>(node.op.get());
  if (collective == nullptr) {  // a state, from the last pipeline rank to the first or back
    const auto* const send = dynamic_cast<const SendState*>(node.op.get());
    const int other = send ? send->to_rank : dynamic_cast<const ReceiveState&>(*node.op).from_rank;
    const auto bytes = static_cast<int64_t>(size_of(graph, node).bytes);
    return known = send ? message_s(pp, other, bytes) : message_s(other, pp, bytes);
  }
  const auto [op, bytes] = size_of(graph, node);
  if (profile_.is_cpu())
    return known = cpu_collective_s(pp, *collective, graph[node.inputs[0]].type.dtype, op, bytes);
  return known = group_s(pp, collective->axis, op, bytes);
}

double SimulatedCosts::group_s(int pp, Axis axis, CollectiveOp op, double bytes) {
  const Mesh& mesh = plan_.config.mesh;
  const bool alike = mesh.tp * mesh.dp % static_cast<int>(profile_.host.devices) == 0;
  double& of_size = by_size_.try_emplace({alike ? -1 : pp, axis, static_cast<int>(op), bytes}, -1).first->second;
  if (of_size < 0) {
    Topology topology(profile_);
    std::vector<Transfer> transfers;
    for (const std::vector<int>& ranks : groups_beside(pp, axis))
      transfers.push_back(topology.collective(op, bytes, ranks));
    of_size = together_s(topology.links(), transfers);
  }
  return of_size;
}

double SimulatedCosts::activation_s(int from, int to, int64_t bytes) {
  const Config& config = plan_.config;
  if (profile_.is_cpu() || profile_.device.scattered_messages == 0 || config.mesh.tp == 1 ||
      config.sequence_parallel)
    return message_s(from, to, bytes);
  return message_s(from, to, (bytes + config.mesh.tp - 1) / config.mesh.tp) +
         group_s(to, Axis::kTp, CollectiveOp::kAllGather, static_cast<double>(bytes));
}

double SimulatedCosts::message_s(int from, int to, int64_t bytes) {
  const auto [place, is_new] = messages_.try_emplace({from, to, bytes}, 0);
  if (!is_new) return place->second;
  const Mesh& mesh = plan_.config.mesh;
  if (profile_.is_cpu()) {
    const int ends[] = {mesh.rank({.pp = from, .dp = 0, .tp = 0}), mesh.rank({.pp = to, .dp = 0, .tp = 0})};
    return place->second =
               cpu_transfer_s(profile_.cpu, "message", static_cast<double>(bytes), 2, cpu_.hosts_of(ends));
  }
  Topology topology(profile_);
  std::vector<Transfer> transfers;
  const int own_from = topology.host_of(mesh.rank({.pp = from, .dp = 0, .tp = 0})),
            own_to = topology.host_of(mesh.rank({.pp = to, .dp = 0, .tp = 0}));
  for (int dp = 0; dp < mesh.dp; ++dp)
    for (int tp = 0; tp < mesh.tp; ++tp) {
      const int a = mesh.rank({.pp = from, .dp = dp, .tp = tp}), b = mesh.rank({.pp = to, .dp = dp, .tp = tp});
      if (topology.host_of(a) == own_from || topology.host_of(b) == own_to)
        transfers.push_back(topology.message(static_cast<double>(bytes), a, b));
    }
  return place->second = together_s(topology.links(), transfers);
}

}  // namespace trine
