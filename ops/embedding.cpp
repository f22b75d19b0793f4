#include "ops/embedding.h"

#include "graph/builder.h"

namespace trine {

Types Embedding::infer(TypeSpan in) const {
  require(in[0].dtype == DType::kI32 && in[0].shape.num_dims() == 1, "ids must be i32[N], got {}", in[0]);
  require(in[1].shape.num_dims() == 2, "the table must be [V,D], got {}", in[1]);
  return {{in[1].dtype, {in[0].shape[0], in[1].shape[1]}}};
}

std::vector<ValueId> Embedding::vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const {
  const StateId sink = b.accumulator(node.inputs[1]);
  require(sink.valid(), "the table of an embedding must be a parameter");
  b.write(EmbeddingGrad(b.type(node.inputs[1]).shape[0]), {node.inputs[0], dy[0]}, {sink});
  return {{}, {}};
}

Cost Embedding::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  const int64_t rows = local_bytes(out[0], mesh);  // of the table, only the rows that are looked up are read
  return {.flops = 0, .bytes_read = rows + local_bytes(in[0], mesh), .bytes_written = rows};
}

Types EmbeddingGrad::infer(TypeSpan in) const {
  require(in[1].shape.num_dims() == 2 && in[0].shape[0] == in[1].shape[0],
          "ids {} and dy {} must have as many rows", in[0], in[1]);
  return {{DType::kF32, {vocab, in[1].shape[1]}}};
}

Cost EmbeddingGrad::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  const Shape dy = local_shape(in[1], mesh);
  const int64_t touched = std::min(dy.num_elements() * 4, local_bytes(out[0], mesh));
  return {.flops = static_cast<double>(dy.num_elements()),
          .bytes_read = local_bytes(in[1], mesh) + touched,
          .bytes_written = touched};
}

// Over tp each rank adds the rows of its own part of the vocabulary from a dy that all have: the one op whose
// output is split along an index that none of its inputs has.
std::variant<std::vector<Placement>, std::string> EmbeddingGrad::place(const IndexMap& map,
                                                                       std::span<const Placement> in, Axis axis,
                                                                       const Mesh& mesh) const {
  if (axis == Axis::kTp && in[1].is(PlacementKind::kReplicated)) return std::vector{Placement::split(0)};
  return Op::place(map, in, axis, mesh);
}

}  // namespace trine
