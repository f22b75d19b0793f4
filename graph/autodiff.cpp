#include "graph/autodiff.h"

#include "base/error.h"

namespace trine {
namespace {

void add_accumulators(Builder& builder) {
  const size_t num_states = builder.graph().states().size();
  for (size_t i = 0; i < num_states; ++i) {
    const State parameter = builder.graph().states()[i];
    if (parameter.role != StateRole::kParameter) continue;
    State gradient{.name = "grad." + parameter.name,
                   .type = parameter.type,
                   .role = StateRole::kGradient,
                   .parameter = StateId{static_cast<int32_t>(i)}};
    gradient.type.dtype = DType::kF32;
    for (Axis axis : kAxes) gradient.type.on(axis) = dual(parameter.type.on(axis));
    builder.add_state(std::move(gradient));
  }
}

}  // namespace

Graph differentiate(Graph forward, ValueId loss, const GradientOps& ops) {
  const size_t num_forward = forward.nodes().size();
  Builder builder(std::move(forward));
  add_accumulators(builder);

  std::vector<ValueId> gradient(builder.graph().values().size());  // by forward value
  const auto contribute = [&](ValueId value, ValueId piece) {
    ValueId& sum = gradient[static_cast<size_t>(value.index)];
    sum = sum.valid() ? builder.emit(ops.add, {sum, piece}).at(0) : piece;
  };
  builder.enter(Region::kMicrobatch, Phase::kInputGrad);
  if (loss.valid()) {
    builder.set_scope("loss");
    builder.set_chunk(builder.graph()[builder.graph()[loss].producer].chunk);
    contribute(loss, ops.seed(builder));
  }

  for (size_t n = num_forward; n-- > 0;) {
    const Node node = builder.graph().nodes()[n];
    if (node.region != Region::kMicrobatch || !node.writes.empty()) continue;
    std::vector<ValueId> dy;
    bool reached = false;
    for (ValueId output : node.outputs) {
      dy.push_back(gradient[static_cast<size_t>(output.index)]);
      reached |= dy.back().valid();
    }
    if (!reached && !node.op->leaves_stage()) continue;
    builder.set_scope(node.scope);
    builder.set_chunk(node.chunk);
    for (size_t i = 0; i < dy.size(); ++i)
      if (dy[i].valid()) builder.pair_gradient(node.outputs[i], dy[i]);
    const std::vector<ValueId> dx = node.op->vjp(builder, node, dy);
    TRINE_CHECK(dx.size() == node.inputs.size(), "{}: vjp gives {} gradients for {} inputs", node.op->name(),
                dx.size(), node.inputs.size());
    for (size_t i = 0; i < dx.size(); ++i) {
      if (!dx[i].valid()) continue;
      if (const StateId sink = builder.accumulator(node.inputs[i]); sink.valid())
        builder.emit(ops.accumulate, {dx[i]}, {sink});
      else if (!builder.graph()[node.inputs[i]].state.valid())
        contribute(node.inputs[i], dx[i]);
    }
  }
  builder.set_chunk(0);
  return builder.finish();
}

}  // namespace trine
