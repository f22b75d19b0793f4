// One row of a matrix: generation needs the logits of the last token of a block only.
//   x [N, D]   row [1] i32   ->   y [1, D] = x[row]        0 <= row < N
#pragma once

#include "graph/op.h"

namespace trine {

struct TakeRow final : Op {
  std::string_view name() const override { return "take_row"; }
  std::string index_map() const override { return "x[n!,d] ~row[one] -> y[m,d] : x"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes&) const override {}
};

}  // namespace trine
