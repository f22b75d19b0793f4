#include "analysis/link_emulation.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <tuple>

#include "analysis/simulated_costs.h"
#include "base/error.h"
#include "base/shape.h"
#include "cluster/cpu_cost.h"
#include "cluster/kernel_cost.h"
#include "cluster/topology.h"
#include "ops/collective.h"
#include "ops/pipeline.h"

namespace trine {
namespace {

EmulatedTransfer dilated(const Transfer& transfer, double dilation) {
  return {.latency_s = transfer.latency_s * dilation, .bytes = transfer.bytes, .uses = transfer.uses};
}

// The transfers of all ranks, so that all know the same links by the same numbers.
class AllTransfers {
 public:
  AllTransfers(const Plan& plan, const Profile& profile, double dilation, int rank)
      : mesh_(plan.config.mesh), own_(mesh_.coordinate(rank)), dilation_(dilation), topology_(profile) {
    for (int pp = 0; pp < mesh_.pp; ++pp)
      for (int dp = 0; dp < mesh_.dp; ++dp)
        for (int tp = 0; tp < mesh_.tp; ++tp) {
          const Coordinate at{.pp = pp, .dp = dp, .tp = tp};
          add_collectives(plan.stages[static_cast<size_t>(pp)].graph, at);
          for (int other = 0; other < mesh_.pp; ++other)
            if (other != pp) message(at, {.pp = other, .dp = dp, .tp = tp}, 1);
        }
    const LinkModel& links = topology_.links();
    for (int i = 0; i < links.num_resources(); ++i) links_.add(links.name(i), links.bytes_per_s(i) / dilation);
  }

  const LinkModel& links() const { return links_; }
  EmulatedTransfer collective(int node) const { return collectives_.at(node); }
  EmulatedTransfer message(int peer, bool sends, int64_t bytes) {
    Coordinate other = own_;
    other.pp = peer;
    return sends ? message(own_, other, static_cast<double>(bytes))
                 : message(other, own_, static_cast<double>(bytes));
  }

 private:
  EmulatedTransfer message(Coordinate from, Coordinate to, double bytes) {
    return dilated(topology_.message(bytes, mesh_.rank(from), mesh_.rank(to)), dilation_);
  }

  void add_collectives(const Graph& graph, Coordinate at) {
    for (size_t n = 0; n < graph.nodes().size(); ++n) {
      const Node& node = graph.nodes()[n];
      if (node.lane == Lane::kCompute || node.op->is_transfer()) continue;
      const CommunicationSize size = size_of(graph, node);
      EmulatedTransfer transfer;
      if (const auto* const send = dynamic_cast<const SendState*>(node.op.get())) {
        transfer = message(at, {.pp = send->to_rank, .dp = at.dp, .tp = at.tp}, size.bytes);
      } else if (const auto* const receive = dynamic_cast<const ReceiveState*>(node.op.get())) {
        transfer = message({.pp = receive->from_rank, .dp = at.dp, .tp = at.tp}, at, size.bytes);
      } else {
        transfer = collective(dynamic_cast<const Collective&>(*node.op).axis, at, size);
      }
      if (at.pp == own_.pp && at.dp == own_.dp && at.tp == own_.tp) collectives_[static_cast<int>(n)] = transfer;
    }
  }

  EmulatedTransfer collective(Axis axis, Coordinate at, const CommunicationSize& size) {
    const int own = mesh_.rank(at);
    std::vector<int> ranks;
    for (int i = 0; i < mesh_[axis]; ++i) {
      (axis == Axis::kPp ? at.pp : axis == Axis::kDp ? at.dp : at.tp) = i;
      ranks.push_back(mesh_.rank(at));
    }
    const bool first_of_group = ranks[0] == own;
    auto [place, is_new] = known_.try_emplace({ranks[0], axis, static_cast<int>(size.op), size.bytes});
    if (is_new || first_of_group) place->second = topology_.collective(size.op, size.bytes, ranks);
    return dilated(place->second, dilation_);
  }

  const Mesh mesh_;
  const Coordinate own_;
  const double dilation_;
  Topology topology_;
  LinkModel links_;
  std::map<std::tuple<int, Axis, int, double>, Transfer> known_;
  std::map<int, EmulatedTransfer> collectives_;  // by node
};

}  // namespace

EmulatedLinks emulated_links(const Plan& plan, const Profile& profile, double dilation, int rank) {
  const auto all = std::make_shared<AllTransfers>(plan, profile, dilation, rank);
  return {.cluster = profile.name,
          .dilation = dilation,
          .links = all->links(),
          .collective = [all](int node) { return all->collective(node); },
          .message = [all](int peer, bool sends, int64_t bytes) { return all->message(peer, sends, bytes); }};
}

double dilation_of(const Plan& plan, const CpuProfile& cpu, const Profile& profile, int ranks_on_host, int cores) {
  const Config& config = plan.config;
  const double threads = static_cast<double>(ranks_on_host) * config.threads;
  const double busy = std::min(threads, std::max(1.0, static_cast<double>(cores)));
  const double launch_s = profile.device.launch_us * 1e-6;
  double on_cpus = 0, on_devices = 0;
  for (const StagePlan& stage : plan.stages) {
    std::vector<int64_t> times(stage.graph.nodes().size());
    step_program(stage, StepMode::kTrain, false).for_each([&](const Command& command) {
      if (command.kind == CommandKind::kRun) ++times[static_cast<size_t>(command.node)];
    });
    for (size_t n = 0; n < times.size(); ++n) {
      if (times[n] == 0) continue;
      const NodeId id{static_cast<int32_t>(n)};
      const Node& node = stage.graph[id];
      const Cost cost = stage.graph.cost(id);
      const auto count = static_cast<double>(times[n]);
      on_cpus += count * cpu_op_s(cpu, node.op->name(), cost, config.dtype, config.threads, busy).seconds;
      on_devices += count * std::max(0.0, kernel_s(profile.device, *node.op, shapes_of(stage.graph, node.inputs),
                                                   shapes_of(stage.graph, node.outputs), cost, config.dtype) -
                                              launch_s);
    }
  }
  TRINE_CHECK(on_devices > 0 && std::isfinite(on_cpus), "{} s on CPUs, {} s on devices", on_cpus, on_devices);
  return on_cpus / on_devices * std::max(1.0, threads / std::max(1, cores));
}

}  // namespace trine
