#include "ops/rope.h"

#include "graph/builder.h"

namespace trine {

Types Rope::infer(TypeSpan in) const {
  require(in[0].shape.num_dims() == 2 && in[0].shape[0] % seq == 0 && in[0].shape[1] % head_dim == 0,
          "x {} must be [batch * {}, heads * {}]", in[0], seq, head_dim);
  require(inverse_frequencies && 2 * static_cast<int64_t>(inverse_frequencies->size()) == head_dim,
          "head_dim {} needs half as many frequencies", head_dim);
  return {{in[0].dtype, in[0].shape}};
}

std::vector<ValueId> Rope::vjp(Builder& b, const Node&, std::span<const ValueId> dy) const {
  Rope backward = *this;
  backward.inverse = !inverse;
  return {b.add(backward, {dy[0]})};
}

Cost Rope::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const { return streaming_cost(in, out, mesh, 3); }

void Rope::describe(Attributes& a) const {
  a("seq", seq);
  a("head_dim", head_dim);
}

Types RopeAt::infer(TypeSpan in) const {
  require(in[0].shape.num_dims() == 2 && in[0].shape[0] <= max_seq && in[0].shape[1] % head_dim == 0,
          "x {} must be [tokens <= {}, heads * {}]", in[0], max_seq, head_dim);
  require(in[1].dtype == DType::kI32 && in[1].shape == Shape{1}, "the position must be i32[1], got {}", in[1]);
  require(inverse_frequencies && 2 * static_cast<int64_t>(inverse_frequencies->size()) == head_dim,
          "head_dim {} needs half as many frequencies", head_dim);
  return {{in[0].dtype, in[0].shape}};
}

Cost RopeAt::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const { return streaming_cost(in, out, mesh, 3); }

void RopeAt::describe(Attributes& a) const {
  a("max_seq", max_seq);
  a("head_dim", head_dim);
}

}  // namespace trine
