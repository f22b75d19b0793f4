#include "ops/repeat_heads.h"

#include "graph/builder.h"

namespace trine {

Types RepeatHeads::infer(TypeSpan in) const {
  require(copies >= 1 && in[0].shape.num_dims() == 2 && in[0].shape[1] % head_dim == 0,
          "x {} must be [tokens, heads * {}], copied once or more, not {} times", in[0], head_dim, copies);
  return {{in[0].dtype, {in[0].shape[0], in[0].shape[1] * copies}}};
}

std::vector<ValueId> RepeatHeads::vjp(Builder& b, const Node&, std::span<const ValueId> dy) const {
  return {b.add(RepeatHeadsGrad(head_dim, copies), {dy[0]})};
}

void RepeatHeads::describe(Attributes& a) const {
  a("head_dim", head_dim);
  a("copies", copies);
}

Types RepeatHeadsGrad::infer(TypeSpan in) const {
  require(copies >= 1 && in[0].shape.num_dims() == 2 && in[0].shape[1] % (head_dim * copies) == 0,
          "dy {} must be [tokens, heads * {} * {}]: copies of each head", in[0], copies, head_dim);
  return {{in[0].dtype, {in[0].shape[0], in[0].shape[1] / copies}}};
}

Cost RepeatHeadsGrad::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  return streaming_cost(in, out, mesh, static_cast<double>(copies - 1));
}

void RepeatHeadsGrad::describe(Attributes& a) const {
  a("head_dim", head_dim);
  a("copies", copies);
}

}  // namespace trine
