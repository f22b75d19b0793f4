#include "analysis/planner/estimate.h"

#include <algorithm>

#include "analysis/prediction.h"
#include "cluster/cpu_cost.h"
#include "models/llama.h"
#include "plan/plan.h"

namespace trine {
namespace {

// Bytes of weights (2), gradients (4) and optimizer (12) for each parameter.
constexpr double kWeights = 2, kGradients = 4, kOptimizer = 12, kStates = kWeights + kGradients + kOptimizer;

// Of the reduction of gradients over dp: what runs behind the last backward at best, and the part behind it, since
// the last bucket is there only when backward ends.
constexpr double kBackward = 2.0 / 3, kLastBucket = 1.0 / 8;

// The most microbatches that the first rank keeps, in chunks' worth of layers.
double in_flight(const Layout& layout, int64_t microbatches) {
  const double m = static_cast<double>(microbatches), p = layout.pp, v = layout.vpp;
  if (layout.schedule == ScheduleKind::kGpipe) return m;
  if (layout.schedule == ScheduleKind::kInterleaved) return std::min(m * v, 2 * (p - 1) + (v - 1) * p + 1) / v;
  return std::min(m, p);
}

}  // namespace

const SmallModels::Small& SmallModels::of(const PlanQuestion& question, const Layout& layout, int64_t layers,
                                          int64_t microbatches) {
  const auto [place, is_new] =
      known_.try_emplace({layout.tp, layout.micro_batch, static_cast<int>(layout.recompute.kind),
                          layout.recompute.group, layers, microbatches});
  Small& small = place->second;
  if (!is_new) return small;
  PlanQuestion alone = question;
  alone.devices = layout.tp;
  Layout one = layout;
  one.pp = one.dp = one.vpp = 1, one.zero = 0, one.schedule = ScheduleKind::kGpipe;
  Config config = config_of(alone, one);
  config.model.layers = layers, config.global_batch = layout.micro_batch * microbatches;
  small.plan = build_plan_to_compare(config);
  small.bytes = static_cast<double>(small.plan.stages[0].memory.total_bytes());
  return small;
}

// With two microbatches.
Estimator::Measured Estimator::small_model(const Layout& layout, int64_t layers) const {
  const SmallModels::Small& small = models_.of(question_, layout, layers, 2);
  const Simulation simulation = simulate(small.plan, question_.profile, {{}, Detail::kAction});
  const double optimizer_s = simulation.mean[EventKind::kOptimizer] + simulation.mean[EventKind::kData] +
                             simulation.mean[EventKind::kHost];
  return {simulation.step_s - optimizer_s, simulation.mean[EventKind::kOptimizer], small.bytes};
}

const Estimator::Costs& Estimator::costs(const Layout& layout) {
  const auto [place, is_new] = costs_.try_emplace(
      {layout.tp, layout.micro_batch, static_cast<int>(layout.recompute.kind), layout.recompute.group});
  Costs& c = place->second;
  if (!is_new) return c;
  const Measured few = small_model(layout, 2), many = small_model(layout, 4);
  const double few_one_bytes = models_.of(question_, layout, 2, 1).bytes,
               many_one_bytes = models_.of(question_, layout, 4, 1).bytes;
  c.layer_s = (many.compute_s - few.compute_s) / 4;
  c.ends_s = std::max(0.0, few.compute_s / 2 - 2 * c.layer_s);
  c.layer_optimizer_s = (many.optimizer_s - few.optimizer_s) / 2;
  const double kept_few = few.bytes - few_one_bytes, kept_many = many.bytes - many_one_bytes;
  c.layer_kept_bytes = std::max(0.0, (kept_many - kept_few) / 2);
  c.ends_kept_bytes = std::max(0.0, kept_few - 2 * c.layer_kept_bytes);
  const LlamaConfig& model = question_.base.model;
  LlamaConfig none = model;
  none.layers = 1;
  const auto one = static_cast<double>(parameter_count(none));
  none.layers = 2;
  const double layer_parameters = static_cast<double>(parameter_count(none)) - one;
  c.layer_state_bytes = kStates * layer_parameters / layout.tp;
  c.ends_state_bytes = kStates * (one - layer_parameters) / layout.tp;
  c.other_bytes = std::max(
      0.0, few_one_bytes - 2 * (c.layer_state_bytes + c.layer_kept_bytes) - c.ends_state_bytes - c.ends_kept_bytes);
  return c;
}

const std::vector<Stage>& Estimator::stages(int count) {
  std::vector<Stage>& stages = stages_[count];
  if (stages.empty()) stages = stages_of(question_.base, count);
  return stages;
}

// Of one microbatch from a pipeline rank to the next, while all other ranks of its host send theirs.
double Estimator::message_s(const Layout& layout) {
  const Profile& profile = question_.profile;
  const bool split = config_of(question_, layout).sequence_parallel;
  const double bytes = kWeights * static_cast<double>(layout.micro_batch * question_.base.seq) *
                       static_cast<double>(question_.base.model.hidden) / (split ? layout.tp : 1);
  const int ranks = layout.tp * layout.dp;  // of a pipeline rank
  if (profile.is_cpu()) return cpu_transfer_s(profile.cpu, "message", bytes, 2, 1);
  double& seconds = messages_.try_emplace({ranks, bytes}, -1).first->second;
  if (seconds >= 0) return seconds;
  Topology topology(profile);
  std::vector<Transfer> transfers;
  for (int rank = 0; rank < ranks && topology.host_of(rank) == 0; ++rank)
    transfers.push_back(topology.message(bytes, rank, rank + ranks));
  return seconds = together_s(topology.links(), transfers);
}

// Per parameter of a rank, seconds to reduce gradients over dp and to gather weights, while the other tp ranks do the
// same.
Estimator::DpCosts Estimator::dp_costs(const Layout& layout) {
  if (layout.dp == 1 || question_.profile.is_cpu()) return {};
  const auto [place, is_new] = dp_costs_.try_emplace({layout.tp, layout.dp});
  if (!is_new) return place->second;
  const auto seconds = [&](CollectiveOp op, double bytes) {
    constexpr double kMany = 1e9;  // where latency is nothing
    Topology topology(question_.profile);
    std::vector<Transfer> transfers;
    for (int tp = 0; tp < layout.tp && topology.host_of(tp) == 0; ++tp) {
      std::vector<int> group;
      for (int dp = 0; dp < layout.dp; ++dp) group.push_back(dp * layout.tp + tp);
      transfers.push_back(topology.collective(op, bytes * kMany, group));
    }
    return together_s(topology.links(), transfers) / kMany;
  };
  return place->second = {seconds(CollectiveOp::kReduceScatter, kGradients),
                          seconds(CollectiveOp::kAllGather, kWeights)};
}

LayoutEstimate Estimator::of(const Layout& layout) {
  const Costs& c = costs(layout);
  const int64_t microbatches = question_.base.global_batch / (layout.micro_batch * layout.dp);
  const std::vector<Stage>& all = stages(layout.pp * layout.vpp);
  std::vector<double> layers(static_cast<size_t>(layout.pp));
  for (const Stage& stage : all)
    layers[static_cast<size_t>(stage.index % layout.pp)] +=
        static_cast<double>(stage.end_layer - stage.first_layer);
  LayoutEstimate estimate;
  double longest_s = 0, optimizer_s = 0, parameters = 0;
  for (size_t rank = 0; rank < layers.size(); ++rank) {
    const bool first = rank == 0, last = rank + 1 == layers.size();
    const double ends = first && last ? 1 : last ? 0.9 : first ? 0.1 : 0;  // of the time: the head's products
    const double ends_bytes = first && last ? 1 : first || last ? 0.5 : 0;
    longest_s = std::max(longest_s, layers[rank] * c.layer_s + ends * c.ends_s);
    const double states = layers[rank] * c.layer_state_bytes + ends_bytes * c.ends_state_bytes;
    const double sharded = layout.zero > 0 ? static_cast<double>(layout.dp) : 1;
    const double own = states * (kWeights + kGradients + kOptimizer / sharded) / kStates;
    const double ahead = static_cast<double>(layout.pp - static_cast<int>(rank)) / layout.pp;
    const double flight = std::max(1.0, in_flight(layout, microbatches) * ahead);
    const double bytes = own + flight * layers[rank] * c.layer_kept_bytes + (last ? c.ends_kept_bytes : 0) +
                         (last ? c.other_bytes : 0.2 * c.other_bytes);
    estimate.bytes = std::max(estimate.bytes, bytes);
    optimizer_s = std::max(optimizer_s, layers[rank] * c.layer_optimizer_s / sharded);
    parameters = std::max(parameters, states / kStates);
  }
  const double bubble = ideal_bubble(layout.schedule, layout.pp, layout.vpp, microbatches).share;
  const DpCosts dp = dp_costs(layout);
  const double reduce_s = dp.reduce_s * parameters;
  // A rank keeps no more microbatches in flight than 1F1B needs, so that a message that takes its time holds up the
  // pipeline twice for each of them.
  if (layout.pp > 1) longest_s += 2 * layout.vpp * message_s(layout) * (layout.pp - 1) / layout.pp;
  estimate.step_s = static_cast<double>(microbatches) * longest_s / (1 - bubble) + optimizer_s +
                    std::max(reduce_s - kBackward * longest_s, kLastBucket * reduce_s) + dp.gather_s * parameters;
  return estimate;
}

}  // namespace trine
