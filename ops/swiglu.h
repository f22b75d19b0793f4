// Gated activation of LLaMA's feed-forward block (Shazeer 2020): h = silu(gate) * up, silu(x) = x / (1 + exp(-x)).
//   gate, up [N, F]   ->   h [N, F]
#pragma once

#include "graph/op.h"

namespace trine {

struct SwiGlu final : Op {
  std::string_view name() const override { return "swiglu"; }
  std::string index_map() const override { return "gate[n,f] up[n,f] -> h[n,f]"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const override;
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes&) const override {}
  Rebuild rebuild() const override { return Rebuild::kCheap; }
};

//   gate, up, dh [N, F]   ->   dgate, dup [N, F], side by side
struct SwiGluGrad final : Op {
  std::string_view name() const override { return "swiglu_grad"; }
  std::string index_map() const override { return "gate[n,f] up[n,f] dh[n,f] -> dgate[n,f] dup[n,f] : dh"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes&) const override {}
  std::vector<InPlace> in_place() const override { return {{0, 0}, {1, 1}}; }
  bool outputs_side_by_side() const override { return true; }
};

}  // namespace trine
