#include "ops/swiglu.h"

#include "graph/builder.h"

namespace trine {

Types SwiGlu::infer(TypeSpan in) const {
  require(in[0].shape == in[1].shape && in[0].dtype == in[1].dtype, "gate {} and up {} must be alike", in[0],
          in[1]);
  return {{in[0].dtype, in[0].shape}};
}

std::vector<ValueId> SwiGlu::vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const {
  return b.add_many(SwiGluGrad(), {node.inputs[0], node.inputs[1], dy[0]});
}

Cost SwiGlu::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const { return streaming_cost(in, out, mesh, 5); }

Types SwiGluGrad::infer(TypeSpan in) const {
  require(in[2].shape == in[0].shape && in[2].dtype == in[0].dtype, "dh {} must be of gate's type {}", in[2],
          in[0]);
  return {{in[0].dtype, in[0].shape}, {in[1].dtype, in[1].shape}};
}

Cost SwiGluGrad::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  return streaming_cost(in, out, mesh, 10);
}

}  // namespace trine
