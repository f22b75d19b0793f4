// Matrix products with weights stored as [out, in] (x * W^T), several weights at once: the local shards of a merged
// product (q, k, v; gate, up) lie side by side and are computed as one.
#pragma once

#include "graph/op.h"

namespace trine {

// x [N, K]   w_i [M_i, K]   ->   y_i [N, M_i]
struct Linear final : Op {
  int num_weights = 1;

  explicit Linear(int weights = 1) : num_weights(weights) {}
  std::string_view name() const override { return "linear"; }
  std::string index_map() const override;
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const override;
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes&) const override {}
  bool outputs_side_by_side() const override { return num_weights > 1; }
  int64_t workspace_bytes(TypeSpan in, TypeSpan out, const Mesh& mesh, const Target& target) const override;
};

// dy_i [N, M_i]   w_i [M_i, K]   ->   dx [N, K] = sum_i dy_i * w_i, summed in f32 and rounded once
struct LinearGradInput final : Op {
  int num_weights = 1;

  explicit LinearGradInput(int weights = 1) : num_weights(weights) {}
  std::string_view name() const override { return "linear_dx"; }
  std::string index_map() const override;
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes&) const override {}
  int64_t workspace_bytes(TypeSpan in, TypeSpan out, const Mesh& mesh, const Target& target) const override;
};

// x [N, K]   dy_i [N, M_i]   ->   (states) dw_i [M_i, K] f32 += dy_i^T * x; the first write of a step overwrites
struct LinearGradWeight final : Op {
  int num_weights = 1;

  explicit LinearGradWeight(int weights = 1) : num_weights(weights) {}
  std::string_view name() const override { return "linear_dw"; }
  std::string index_map() const override;
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes&) const override {}
  int num_writes() const override { return num_weights; }
  int64_t workspace_bytes(TypeSpan in, TypeSpan out, const Mesh& mesh, const Target& target) const override;
};

}  // namespace trine
