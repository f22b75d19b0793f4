// Copies of key and value heads, for grouped queries on more tensor-parallel ranks than there are kv heads: each
// rank then slices off the copy that its query heads read.
//   x [N, G * D]   ->   y [N, G * copies * D]        head g of x stands `copies` times in a row, from g * copies on
// D = head_dim.
#pragma once

#include "graph/op.h"

namespace trine {

struct RepeatHeads final : Op {
  int64_t head_dim = 0, copies = 0;

  RepeatHeads(int64_t head, int64_t num_copies) : head_dim(head), copies(num_copies) {}
  std::string_view name() const override { return "repeat_heads"; }
  std::string index_map() const override { return "x[n,g!] -> y[n,h!] : x"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const override;
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override { return streaming_cost(in, out, mesh, 0); }
  void describe(Attributes& a) const override;
};

//   dy [N, G * copies * D]   ->   dx [N, G * D], each head the sum of its copies, in order, in f32, rounded once
struct RepeatHeadsGrad final : Op {
  int64_t head_dim = 0, copies = 0;

  RepeatHeadsGrad(int64_t head, int64_t num_copies) : head_dim(head), copies(num_copies) {}
  std::string_view name() const override { return "repeat_heads_grad"; }
  std::string index_map() const override { return "dy[n,h!] -> dx[n,g!] : dy"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override;
};

}  // namespace trine
