// The whole story: from a configuration to what runs.
#include "plan/plan.h"

#include <algorithm>
#include <numeric>

#include "graph/autodiff.h"
#include "graph/passes/in_place.h"
#include "graph/passes/precision.h"
#include "graph/passes/recompute.h"
#include "graph/passes/split_backward.h"
#include "graph/verifier.h"
#include "models/llama.h"
#include "ops/batch.h"
#include "ops/elementwise.h"
#include "ops/fusions.h"
#include "ops/pipeline.h"
#include "parallel/buckets.h"
#include "parallel/lanes.h"
#include "parallel/optimizer.h"
#include "parallel/schedules/check.h"
#include "parallel/stages.h"
#include "plan/memory_budget.h"
#include "plan/program_check.h"

namespace trine {
namespace {

enum class PlanUse { kRun, kCompare };

GradientOps gradient_ops() {
  return {.add = std::make_shared<const Add>(),
          .accumulate = std::make_shared<const Accumulate>(1),
          .seed = [](Builder& b) {
            const auto state = [&](const char* name) { return b.read(b.graph().state_named(name)); };
            return b.add(LossSeed(), {state(step_state::kLossScale), state(step_state::kValidTokens)});
          }};
}

// Several buckets, so that the first is reduced over dp while backward fills the others;
// few, because each is a collective.
int64_t bucket_elements(const Config& config) {
  constexpr int64_t kBuckets = 8, kFewest = int64_t{1} << 16, kMost = int64_t{1} << 23;
  if (config.mesh.dp == 1) return INT64_MAX;
  return std::clamp(parameter_count(config.model) / (config.mesh.pp * config.mesh.tp * kBuckets), kFewest, kMost);
}

RecomputeOptions recompute_options(const Recompute& recompute) {
  using Policy = RecomputeOptions::Policy;
  if (recompute.kind == Recompute::Kind::kSelective) return {Policy::kSelective};
  if (recompute.kind == Recompute::Kind::kGroup) return {Policy::kGroup, recompute.group};
  if (recompute.kind == Recompute::Kind::kFull) return {Policy::kGroup, 1};
  return {Policy::kNone};
}

std::vector<Pass> passes_for(const Config& config, ValueId loss) {
  const OptimizerOptions optimizer{.beta1 = static_cast<float>(config.beta1),
                                   .beta2 = static_cast<float>(config.beta2),
                                   .eps = static_cast<float>(config.eps),
                                   .weight_decay = static_cast<float>(config.weight_decay),
                                   .clip = static_cast<float>(config.clip),
                                   .shard_over_dp = config.zero > 0,
                                   .wire = config.grad_reduce};
  const BucketOptions buckets{.max_elements = bucket_elements(config), .shard_over_dp = config.zero > 0};
  std::vector<Pass> passes = {
      {"precision", [&config](Graph g) { return apply_precision(std::move(g), config.dtype); }, true},
      {"autodiff", [loss](Graph g) { return differentiate(std::move(g), loss, gradient_ops()); }},
      {"recompute",
       [options = recompute_options(config.recompute)](Graph g) { return recompute(std::move(g), options); }, true},
      {"split-backward", split_backward, true},
      {"fuse", [](Graph g) { return fuse(std::move(g), fusions()); }, true},
      {"buckets", [buckets](Graph g) { return assign_buckets(std::move(g), buckets); }},
      {"optimizer", [optimizer](Graph g) { return add_optimizer(std::move(g), optimizer); }},
      {"lanes", assign_lanes},
      {"overlap", overlap_communication, true},
      {"in-place", choose_in_place, true},
      {"waits", add_waits},
  };
  if (config.schedule != ScheduleKind::kZeroBubble)
    std::erase_if(passes, [](const Pass& pass) { return pass.name == "split-backward"; });
  return passes;
}

// The stages of one pipeline rank: stage = chunk * pp + rank.
std::vector<Stage> chunks_of(const std::vector<Stage>& stages, int rank, int pp) {
  std::vector<Stage> chunks;
  for (size_t s = static_cast<size_t>(rank); s < stages.size(); s += static_cast<size_t>(pp))
    chunks.push_back(stages[s]);
  return chunks;
}

StagePlan build_stage(const Config& config, std::vector<Stage> chunks, PlanUse use, std::ostream* dump) {
  const BatchShape batch{config.micro_batch, config.seq, config.num_microbatches()};
  LlamaForward forward = build_llama(config.model, batch, config.mesh, config.sequence_parallel, chunks);
  if (use == PlanUse::kRun) verify(forward.graph);
  PassRunner runner({.disabled = {config.disabled_passes.begin(), config.disabled_passes.end()},
                     .dumped = {config.dump_passes.begin(), config.dump_passes.end()},
                     .dump = dump,
                     .verify = use == PlanUse::kRun});
  StagePlan plan{.chunks = std::move(chunks), .logits = forward.logits, .loss = forward.loss};
  plan.graph = runner.run(std::move(forward.graph), passes_for(config, forward.loss));
  plan.passes = runner.timings();
  return plan;
}

// ConfigError if some rank would wait for ever: training, or validation (forwards only).
void check_programs_of_all(const Plan& plan, PlanUse use) {
  for (const StepMode mode : {StepMode::kTrain, StepMode::kEvaluate})
    for (const bool device_to_device : {false, true}) {
      if (device_to_device && !may_talk_on_device(plan.config)) continue;
      if (use == PlanUse::kCompare && (mode != StepMode::kTrain || device_to_device)) continue;
      std::vector<StepProgram> programs;
      for (const StagePlan& stage : plan.stages) programs.push_back(step_program(stage, mode, device_to_device));
      check_programs(programs);
    }
}

constexpr int kFewestSendSlots = 2;

MemoryPlan memory_of(const StagePlan& stage, const Config& config, int send_slots) {
  return plan_memory(stage.graph, stage.schedule, {config.device, config.threads}, send_slots);
}

// Gives all ranks as many buffers for sent values as the schedule needs to get to its end.
// REQUIRES: they have the fewest.
void widen_memory_of_all(Plan& plan, PlanUse use) {
  const int microbatches = static_cast<int>(plan.config.num_microbatches());
  for (int send_slots = kFewestSendSlots;;) {
    try {
      return check_programs_of_all(plan, use);
    } catch (const ConfigError&) {
      if (send_slots >= microbatches) throw;
    }
    ++send_slots;
    for (StagePlan& stage : plan.stages) stage.memory = memory_of(stage, plan.config, send_slots);
  }
}

// The graph of a pipeline rank that stands `by` ranks behind another with as many layers: its neighbours move along.
Graph moved(Graph graph, int by) {
  Builder builder(std::move(graph));
  for (Node& node : builder.nodes()) {
    if (const auto* send = dynamic_cast<const Send*>(node.op.get()))
      node.op = std::make_shared<const Send>(send->to_stage + by, send->backward);
    else if (const auto* receive = dynamic_cast<const Receive*>(node.op.get()))
      node.op = std::make_shared<const Receive>(receive->from_stage + by, receive->backward, receive->type);
  }
  return builder.finish();
}

// What decides a stage's graph, but for the names of its layers and the number of its neighbours.
bool alike(const std::vector<Stage>& a, const std::vector<Stage>& b) {
  return std::ranges::equal(a, b, [](const Stage& x, const Stage& y) {
    return x.end_layer - x.first_layer == y.end_layer - y.first_layer && x.is_first() == y.is_first() &&
           x.is_last() == y.is_last();
  });
}

// All ranks; the ends first, one of which mostly needs most memory, where that may be too much.
std::vector<size_t> order_of_ranks(size_t num_ranks, bool ends_first) {
  std::vector<size_t> order(num_ranks);
  std::iota(order.begin(), order.end(), size_t{0});
  if (ends_first && num_ranks > 2) std::rotate(order.begin() + 1, order.end() - 1, order.end());
  return order;
}

using MayNeed = std::function<bool(int64_t bytes)>;

// nullopt as soon as a rank needs more bytes than it may.
std::optional<Plan> build_all(const Config& config, PlanUse use, std::ostream* dump, const MayNeed& may_need) {
  const Mesh& mesh = config.mesh;
  const std::vector<Stage> stages = stages_of(config, mesh.pp * config.vpp);
  const std::vector<Schedule> schedules =
      make_schedules(config.schedule, mesh.pp, config.vpp, static_cast<int>(config.num_microbatches()));
  check_schedules(schedules, mesh.pp * config.vpp, static_cast<int>(config.num_microbatches()));
  Plan plan{.config = config, .stages = std::vector<StagePlan>(schedules.size()), .warnings = {}};
  std::vector<size_t> built;
  for (const size_t rank : order_of_ranks(schedules.size(), may_need != nullptr)) {
    StagePlan& stage = plan.stages[rank];
    const std::vector<Stage> chunks = chunks_of(stages, static_cast<int>(rank), mesh.pp);
    const auto same =
        std::ranges::find_if(built, [&](size_t other) { return alike(plan.stages[other].chunks, chunks); });
    if (use == PlanUse::kCompare && same != built.end()) {
      const StagePlan& of = plan.stages[*same];
      stage = {.chunks = chunks, .logits = of.logits, .loss = of.loss};
      stage.graph = moved(of.graph, static_cast<int>(rank) - of.chunks.front().index);
    } else {
      stage = build_stage(config, chunks, use, dump);
    }
    built.push_back(rank);
    stage.schedule = schedules[rank];
    stage.memory = memory_of(stage, config, kFewestSendSlots);
    if (may_need && !may_need(stage.memory.total_bytes())) return std::nullopt;
  }
  widen_memory_of_all(plan, use);
  for (const StagePlan& stage : plan.stages)
    if (may_need && !may_need(stage.memory.total_bytes())) return std::nullopt;
  return plan;
}

// Half a layer more at both ends: what cannot be split evenly goes to the stages between.
LayerCosts weights_of(const Config& config) {
  if (config.stage_split == StageSplit::kLayers) return {.layer = 1, .embedding = 0.5, .head = 0.5};
  if (config.stage_split == StageSplit::kLayersAndEnds) return {.layer = 1, .embedding = 1.5, .head = 1.5};
  return layer_costs(config.model, config.seq);
}

}  // namespace

std::vector<Stage> stages_of(const Config& config, int num_stages) {
  const LayerCosts time = weights_of(config);
  // What a rank of several stages takes is their sum: there each is as long as the others, as far as can be.
  const bool spares_memory = config.stage_split == StageSplit::kCost && config.vpp == 1;
  return split_layers(config.model.layers, num_stages, time,
                      spares_memory ? parameters_of_parts(config.model) : time);
}

bool may_talk_on_device(const Config& config) {
  return config.device == DeviceKind::kCuda && config.comm != CommKind::kMpi && config.mesh.num_ranks() > 1;
}

Plan build_plan(const Config& config, std::ostream* dump) {
  return build_within_budget(config,
                             [dump](const Config& c) { return *build_all(c, PlanUse::kRun, dump, nullptr); });
}

Plan build_plan_to_compare(const Config& config) {
  return build_within_budget(config,
                             [](const Config& c) { return *build_all(c, PlanUse::kCompare, nullptr, nullptr); });
}

std::optional<Plan> build_plan_to_compare(const Config& config, const std::function<bool(int64_t)>& may_need) {
  // What chooses a recomputation looks at plans that need more, too.
  if (config.memory_budget) {
    Plan plan = build_plan_to_compare(config);
    for (const StagePlan& stage : plan.stages)
      if (!may_need(stage.memory.total_bytes())) return std::nullopt;
    return plan;
  }
  return build_all(config, PlanUse::kCompare, nullptr, may_need);
}

}  // namespace trine
