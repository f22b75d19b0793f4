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

// Whether a rank's own part of a state lies in the whole: then nothing is launched.
bool is_in_place(const Graph& graph, const Node& node) {
  const auto* const collective = dynamic_cast<const Collective*>(node.op.get());
  if (collective == nullptr || !collective->is_local() || node.writes.empty()) return false;
  const auto memory_of = [&](StateId state) { return graph[state].storage.valid() ? graph[state].storage : state; };
  const StateId from = graph[node.inputs[0]].state;
  return from.valid() && memory_of(from) == memory_of(node.writes[0]);
}

// Of all collectives of one kind that belong together with this one, as those of all gradients do.
double bytes_together(const Graph& graph, const Node& node, CollectiveOp op) {
  double bytes = 0;
  for (const Node& other : graph.nodes())
    if (other.lane == node.lane && other.scope == node.scope && size_of(graph, other).op == op)
      bytes += size_of(graph, other).bytes;
  return bytes;
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
    : plan_(plan),
      profile_(profile),
      cpu_(profile.is_cpu() ? cpu_layout(plan.config, profile.cpu) : CpuLayout()),
      topology_(profile) {
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
      } else if (!profile.is_cpu() && is_in_place(graph, node)) {
        own.launches = 0;
      } else if (node.lane == Lane::kCompute) {
        bool guessed = false;
        own.seconds = kernel_seconds(graph, node, cost, guessed);
        if (!profile_.is_cpu()) own.launches = launches(profile_.device, *node.op, shapes_of(graph, node.inputs));
        const double step_s =
            own.seconds * (node.region == Region::kMicrobatch ? plan.config.num_microbatches() : 1);
        all_s += step_s;
        if (guessed) guessed_s[std::string(node.op->name())] += step_s;
      }
    }
    for (const auto& [op, seconds] : guessed_s) guessed_[op] = std::max(guessed_[op], seconds / all_s);
    collectives_.emplace_back(graph.nodes().size(), nullptr);
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
  for (const int rank : groups[0]) hosts.insert(topology_.host_of(rank));
  for (int dp = 0; dp < mesh.dp; ++dp)
    for (int tp = 0; tp < mesh.tp; ++tp) {
      const Coordinate at{.pp = pp, .dp = dp, .tp = tp};
      if (at[axis] != 0 || (dp == 0 && tp == 0)) continue;
      const std::vector<int> group = group_of(at);
      if (std::ranges::any_of(group, [&](int rank) { return hosts.contains(topology_.host_of(rank)); }))
        groups.push_back(group);
    }
  return groups;
}

const SharedTransfer& SimulatedCosts::collective(int pp, int index) {
  const SharedTransfer*& known = collectives_[static_cast<size_t>(pp)][static_cast<size_t>(index)];
  if (known != nullptr) return *known;
  const Graph& graph = plan_.stages[static_cast<size_t>(pp)].graph;
  const Node& node = graph[NodeId{index}];
  const auto* const collective = dynamic_cast<const Collective*>(node.op.get());
  if (collective == nullptr) {  // a state, from the last pipeline rank to the first or back
    const auto* const send = dynamic_cast<const SendState*>(node.op.get());
    const int other = send ? send->to_rank : dynamic_cast<const ReceiveState&>(*node.op).from_rank;
    const auto bytes = static_cast<int64_t>(size_of(graph, node).bytes);
    known = send ? &message(pp, other, bytes) : &message(other, pp, bytes);
    return *known;
  }
  const auto [op, bytes] = size_of(graph, node);
  if (profile_.is_cpu()) {
    SharedTransfer& own = of_nodes_[{pp, index}];
    own.latency_s = cpu_collective_s(pp, *collective, graph[node.inputs[0]].type.dtype, op, bytes);
    known = &own;
  } else if (node.lane == Lane::kDp && profile_.device.serial_collectives >= 2) {
    const double whole = bytes_together(graph, node, op);
    SharedTransfer& own = of_nodes_[{pp, index}] = of_groups(pp, collective->axis, op, whole);
    own.latency_s *= bytes / whole, own.bytes *= bytes / whole;
    known = &own;
  } else {
    known = &of_groups(pp, collective->axis, op, bytes);
  }
  return *known;
}

// Of these hosts, which stand for all.
SharedTransfer SimulatedCosts::shared(const Transfer& transfer, std::span<const int> hosts) const {
  SharedTransfer own{.latency_s = transfer.latency_s,
                     .bytes = transfer.bytes,
                     .alone_bytes_per_s = topology_.links().rate_alone(transfer.uses),
                     .uses = {}};
  std::ranges::copy_if(transfer.uses, std::back_inserter(own.uses), [&](const LinkUse& use) {
    return std::ranges::count(hosts, topology_.host_of_link(use.resource)) > 0;
  });
  return own;
}

// Then those of a stage are like those of the first, some hosts on.
bool SimulatedCosts::stages_have_own_hosts() const {
  return plan_.config.mesh.tp * plan_.config.mesh.dp % static_cast<int>(profile_.host.devices) == 0;
}

const SharedTransfer& SimulatedCosts::of_groups(int pp, Axis axis, CollectiveOp op, double bytes) {
  const auto [place, is_new] = groups_.try_emplace({pp, axis, static_cast<int>(op), bytes});
  SharedTransfer& own = place->second;
  if (!is_new) return own;
  const int first_host = topology_.host_of(plan_.config.mesh.rank({.pp = pp, .dp = 0, .tp = 0}));
  if (pp > 0 && axis != Axis::kPp && stages_have_own_hosts()) {
    own = of_groups(0, axis, op, bytes);
    for (LinkUse& use : own.uses) use.resource = topology_.link_of_host(use.resource, first_host);
    return own;
  }
  std::vector<Transfer> transfers;
  std::set<int> hosts;
  for (const std::vector<int>& ranks : groups_beside(pp, axis)) {
    transfers.push_back(topology_.collective(op, bytes, ranks));
    for (const int rank : ranks) hosts.insert(topology_.host_of(rank));
  }
  std::vector<int> stand_for_all(hosts.begin(), hosts.end());
  if (axis != Axis::kPp && stages_have_own_hosts()) stand_for_all = {first_host};
  return own = shared(together(transfers), stand_for_all);
}

const SharedTransfer& SimulatedCosts::activation(int from, int to, int64_t bytes) {
  const Config& config = plan_.config;
  if (profile_.is_cpu() || profile_.device.scattered_messages == 0 || config.mesh.tp == 1 ||
      config.sequence_parallel)
    return message(from, to, bytes);
  const auto [place, is_new] = activations_.try_emplace({from, to, bytes});
  if (is_new)
    place->second.latency_s =
        message_s(from, to, (bytes + config.mesh.tp - 1) / config.mesh.tp) +
        of_groups(to, Axis::kTp, CollectiveOp::kAllGather, static_cast<double>(bytes)).seconds_alone();
  return place->second;
}

const SharedTransfer& SimulatedCosts::message(int from, int to, int64_t bytes) {
  const auto [place, is_new] = messages_.try_emplace({from, to, bytes});
  SharedTransfer& own = place->second;
  if (!is_new) return own;
  const Mesh& mesh = plan_.config.mesh;
  if (profile_.is_cpu()) {
    const int ends[] = {mesh.rank({.pp = from, .dp = 0, .tp = 0}), mesh.rank({.pp = to, .dp = 0, .tp = 0})};
    own.latency_s = cpu_transfer_s(profile_.cpu, "message", static_cast<double>(bytes), 2, cpu_.hosts_of(ends));
    return own;
  }
  std::vector<Transfer> transfers;
  const int hosts[] = {topology_.host_of(mesh.rank({.pp = from, .dp = 0, .tp = 0})),
                       topology_.host_of(mesh.rank({.pp = to, .dp = 0, .tp = 0}))};
  for (int dp = 0; dp < mesh.dp; ++dp)
    for (int tp = 0; tp < mesh.tp; ++tp) {
      const int a = mesh.rank({.pp = from, .dp = dp, .tp = tp}), b = mesh.rank({.pp = to, .dp = dp, .tp = tp});
      if (topology_.host_of(a) == hosts[0] || topology_.host_of(b) == hosts[1])
        transfers.push_back(topology_.message(static_cast<double>(bytes), a, b));
    }
  return own = shared(together(transfers), hosts);
}

}  // namespace trine
