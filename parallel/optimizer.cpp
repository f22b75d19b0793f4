#include "parallel/optimizer.h"

#include "graph/builder.h"
#include "ops/elementwise.h"
#include "ops/optimizer.h"
#include "parallel/buckets.h"

namespace trine {
namespace {

// A parameter that is a view of another one adds its gradient to its owner's.
void sum_tied_gradients(Builder& b) {
  for (const State& state : std::vector<State>(b.graph().states())) {
    if (state.role != StateRole::kGradient || state.storage.valid() || !state.parameter.valid()) continue;
    const State& parameter = b.graph()[state.parameter];
    if (!parameter.storage.valid()) continue;
    const StateId owner = b.graph().companion(parameter.storage, StateRole::kGradient);
    b.set_scope(parameter.name);
    b.write(Accumulate(state.type.shape.num_dims(), false), {state.value}, {owner});
  }
}

StateId scalar(Builder& b, const char* name, DType dtype, int64_t elements = 1) {
  return b.add_state({.name = name, .type = {dtype, {elements}}, .role = StateRole::kScalar});
}

}  // namespace

Graph add_optimizer(Graph graph, const OptimizerOptions& options) {
  Builder b(std::move(graph));
  b.enter(Region::kEpilogue);
  sum_tied_gradients(b);

  const auto named = [&](const char* name) { return b.read(b.graph().state_named(name)); };
  const std::vector<StateId> all = buckets(b.graph());
  const StateId bins = scalar(b, "step.norm_bins", DType::kI64, SquaredNorm::kNumBins);
  b.set_scope("norm");
  for (size_t i = 0; i < all.size(); ++i)
    b.write(SquaredNorm(i == 0), {b.read(b.graph().companion(all[i], StateRole::kGradient))}, {bins});
  const StateId norm = scalar(b, "step.grad_norm", DType::kF32), factor = scalar(b, "step.factor", DType::kF32);
  const StateId apply = scalar(b, "step.apply", DType::kI32), step = scalar(b, "step.adam_step", DType::kI32);
  b.write(ClipGradients(options.clip), {b.read(bins), named("step.loss_scale"), named("step.loss_sum")},
          {norm, factor, apply, step});

  b.set_scope("adamw");
  for (StateId weights : all) {
    AdamW adamw;
    adamw.beta1 = options.beta1, adamw.beta2 = options.beta2, adamw.eps = options.eps;
    adamw.weight_decay = b.graph()[weights].weight_decay ? options.weight_decay : 0.0f;
    adamw.compute_dtype = b.graph()[weights].type.dtype;
    const auto companion = [&](StateRole role) { return b.graph().companion(weights, role); };
    b.write(
        adamw,
        {b.read(companion(StateRole::kGradient)), named("step.lr"), b.read(factor), b.read(apply), b.read(step)},
        {companion(StateRole::kMaster), companion(StateRole::kMomentum), companion(StateRole::kVariance), weights});
  }
  return b.finish();
}

}  // namespace trine
