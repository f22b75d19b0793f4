// The whole story: from a configuration to what runs.
#include "plan/plan.h"

#include "base/text.h"
#include "graph/autodiff.h"
#include "graph/passes/in_place.h"
#include "graph/passes/precision.h"
#include "graph/printer.h"
#include "graph/verifier.h"
#include "models/llama.h"
#include "ops/batch.h"
#include "ops/elementwise.h"
#include "parallel/buckets.h"
#include "parallel/optimizer.h"

namespace trine {
namespace {

GradientOps gradient_ops() {
  return {.add = std::make_shared<const Add>(),
          .accumulate = std::make_shared<const Accumulate>(1),
          .seed = [](Builder& b) {
            const auto state = [&](const char* name) { return b.read(b.graph().state_named(name)); };
            return b.add(LossSeed(), {state(step_state::kLossScale), state(step_state::kValidTokens)});
          }};
}

std::vector<Pass> passes_for(const Config& config, ValueId loss) {
  const OptimizerOptions optimizer{.beta1 = static_cast<float>(config.beta1),
                                   .beta2 = static_cast<float>(config.beta2),
                                   .eps = static_cast<float>(config.eps),
                                   .weight_decay = static_cast<float>(config.weight_decay),
                                   .clip = static_cast<float>(config.clip)};
  return {
      {"precision", [&config](Graph g) { return apply_precision(std::move(g), config.dtype); }, true},
      {"autodiff", [loss](Graph g) { return differentiate(std::move(g), loss, gradient_ops()); }},
      {"buckets", [](Graph g) { return assign_buckets(std::move(g), {}); }},
      {"optimizer", [optimizer](Graph g) { return add_optimizer(std::move(g), optimizer); }},
      {"in-place", choose_in_place, true},
  };
}

StagePlan build_stage(const Config& config, int stage, std::ostream* dump) {
  const BatchShape batch{config.micro_batch, config.seq, config.num_microbatches()};
  LlamaForward forward = build_llama(config.model, batch, config.mesh, config.sequence_parallel);
  verify(forward.graph);
  PassRunner runner({.disabled = {config.disabled_passes.begin(), config.disabled_passes.end()},
                     .dumped = {config.dump_passes.begin(), config.dump_passes.end()},
                     .dump = dump});
  StagePlan plan{.logits = forward.logits, .loss = forward.loss};
  plan.graph = runner.run(std::move(forward.graph), passes_for(config, forward.loss));
  plan.passes = runner.timings();
  plan.schedule = one_forward_one_backward(stage, config.mesh.pp, static_cast<int>(config.num_microbatches()));
  plan.memory = plan_memory(plan.graph, plan.schedule, config.threads);
  return plan;
}

}  // namespace

Plan build_plan(const Config& config, std::ostream* dump) {
  Plan plan{.config = config, .stages = {}};
  for (int stage = 0; stage < config.mesh.pp; ++stage) plan.stages.push_back(build_stage(config, stage, dump));
  return plan;
}

std::string print_plan(const Plan& plan) {
  const Config& c = plan.config;
  std::string text = fmt::format("mesh pp={} dp={} tp={}   microbatches {} of {} x {} tokens   {} parameters\n",
                                 c.mesh.pp, c.mesh.dp, c.mesh.tp, c.num_microbatches(), c.micro_batch, c.seq,
                                 format_count(parameter_count(c.model)));
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    const StagePlan& stage = plan.stages[s];
    text += fmt::format("stage {}: {} nodes, {} states, {} planned\n", s, stage.graph.nodes().size(),
                        stage.graph.states().size(), format_bytes(stage.memory.total_bytes()));
    for (const PassTiming& pass : stage.passes)
      text += pass.skipped ? fmt::format("  pass {:<10} disabled\n", pass.name)
                           : fmt::format("  pass {:<10} {:>4} -> {:>4} nodes {:>8.2f} ms\n", pass.name,
                                         pass.nodes_before, pass.nodes_after, pass.seconds * 1e3);
    double flops = 0;
    for (size_t n = 0; n < stage.graph.nodes().size(); ++n) {
      const bool repeated = stage.graph.nodes()[n].region == Region::kMicrobatch;
      flops += stage.graph.cost({static_cast<int32_t>(n)}).flops *
               (repeated ? static_cast<double>(c.num_microbatches()) : 1);
    }
    text += fmt::format("  {:.1f} GFLOP a step\n  schedule {}\n", flops * 1e-9, to_string(stage.schedule));
  }
  return text;
}

std::string print_memory(const Plan& plan) {
  std::string text;
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    text += fmt::format("memory of a rank in stage {}, by name\n{}", s, print(plan.stages[s].memory));
    text += "  outside the plan: libraries, stacks, mapped files (measured after the first step)\n";
  }
  return text;
}

std::string print_graph(const Plan& plan) {
  std::string text;
  for (size_t s = 0; s < plan.stages.size(); ++s)
    text += fmt::format("stage {}\n{}", s, print(plan.stages[s].graph));
  return text;
}

}  // namespace trine
