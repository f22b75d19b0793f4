#include "ops/cross_entropy.h"

#include "graph/builder.h"

namespace trine {

using PlacementsOrReason = std::variant<std::vector<Placement>, std::string>;

Types VocabStats::infer(TypeSpan in) const {
  require(in[0].shape.num_dims() == 2 && in[1].shape == Shape{in[0].shape[0]} && in[1].dtype == DType::kI32,
          "logits {} need i32 labels, one per row, got {}", in[0], in[1]);
  return {{DType::kF32, {num_parts, in[0].shape[0], 3}}};
}

std::vector<ValueId> VocabStats::vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const {
  return {b.add(VocabStatsGrad(), {node.inputs[0], node.inputs[1], node.outputs[0], dy[0]}), {}};
}

Cost VocabStats::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  Cost cost = streaming_cost(in, out, mesh, 0);
  cost.flops = 3.0 * static_cast<double>(local_shape(in[0], mesh).num_elements());
  return cost;
}

PlacementsOrReason VocabStats::place(const IndexMap& map, std::span<const Placement> in, Axis axis,
                                     const Mesh& mesh) const {
  if (axis == Axis::kTp && in[0] == Placement::split(1)) return std::vector{Placement::split(0)};
  if (in[0].batch) return std::vector{Placement{PlacementKind::kSplit, 1, true}};
  return Op::place(map, in, axis, mesh);
}

Types VocabStatsGrad::infer(TypeSpan in) const {
  require(in[2].shape == in[3].shape && in[2].shape[1] == in[0].shape[0],
          "stats {} and dstats {} must fit logits {}", in[2], in[3], in[0]);
  return {{in[0].dtype, in[0].shape}};
}

Cost VocabStatsGrad::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  return streaming_cost(in, out, mesh, 3);
}

PlacementsOrReason VocabStatsGrad::place(const IndexMap& map, std::span<const Placement> in, Axis axis,
                                         const Mesh& mesh) const {
  const bool split = axis == Axis::kTp && in[0] == Placement::split(1);
  if (split && in[2] == Placement::split(0) && in[3] == Placement::split(0))
    return std::vector{Placement::split(1)};
  return Op::place(map, in, axis, mesh);
}

Types CrossEntropy::infer(TypeSpan in) const {
  require(in[0].shape.num_dims() == 3 && in[0].shape[2] == 3 && in[1].shape == Shape{in[0].shape[1]},
          "stats {} must be [R,N,3], labels {} one per row", in[0], in[1]);
  return {{DType::kF32, {1}}};
}

std::vector<ValueId> CrossEntropy::vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const {
  return {b.add(CrossEntropyGrad(), {node.inputs[0], node.inputs[1], dy[0]}), {}};
}

Cost CrossEntropy::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  Cost cost = streaming_cost(in, out, mesh, 0);
  cost.flops = 3.0 * static_cast<double>(local_shape(in[0], mesh).num_elements());
  return cost;
}

Types CrossEntropyGrad::infer(TypeSpan in) const { return {{DType::kF32, in[0].shape}}; }

Cost CrossEntropyGrad::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  return streaming_cost(in, out, mesh, 3);
}

}  // namespace trine
