#include "ops/elementwise.h"

#include "graph/builder.h"

namespace trine {

Types Add::infer(TypeSpan in) const {
  require(in[0].shape == in[1].shape && in[0].dtype == in[1].dtype, "{} + {}: both must be alike", in[0], in[1]);
  return {{in[0].dtype, in[0].shape}};
}

std::vector<ValueId> Add::vjp(Builder&, const Node&, std::span<const ValueId> dy) const { return {dy[0], dy[0]}; }

Types Cast::infer(TypeSpan in) const {
  require(is_float(in[0].dtype) && is_float(to), "cannot cast {} to {}", in[0], trine::name(to));
  return {{to, in[0].shape}};
}

std::vector<ValueId> Cast::vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const {
  return {b.add(Cast(b.type(node.inputs[0]).dtype), {dy[0]})};
}

Types Accumulate::infer(TypeSpan in) const {
  require(in[0].dtype == DType::kF32 && in[0].shape.num_dims() == num_dims, "accumulates f32 of {} dims, got {}",
          num_dims, in[0]);
  return {{DType::kF32, in[0].shape}};
}

Cost Accumulate::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  Cost cost = streaming_cost(in, out, mesh, 1);
  cost.bytes_read += cost.bytes_written;
  return cost;
}

}  // namespace trine
