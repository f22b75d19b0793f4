// Causal self-attention with grouped query heads, as one tiled op: no seq x seq matrix is kept (Dao et al. 2022).
//   q [N, H * D]   k, v [N, G * D]   ->   o [N, H * D]   lse [N, H] f32
// N = batch * seq; D = head_dim; query head h reads kv head h / (H / G); scores are scaled by 1 / sqrt(D).
// lse is the natural logarithm of the sum of exponentials of a row's scores; backward rebuilds the scores with it.
#pragma once

#include "graph/op.h"

namespace trine {

// Bytes of scores that a GPU's backward may keep at once; fewer heads at a time keep to it.
inline constexpr int64_t kAttentionScoreLimit = int64_t{1} << 30;

struct Attention final : Op {
  int64_t seq = 0, head_dim = 0;

  Attention(int64_t sequence, int64_t head) : seq(sequence), head_dim(head) {}
  std::string_view name() const override { return "attention"; }
  std::string index_map() const override { return "q[n!,h] k[n,h] v[n,h] -> o[n,h] lse[n,h]"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const override;
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override;
  int64_t workspace_bytes(TypeSpan in, TypeSpan out, const Mesh& mesh, const Target& target) const override;
};

//   q, k, v, o, lse, do   ->   dq [N, H * D]   dk, dv [N, G * D], side by side
struct AttentionGrad final : Op {
  int64_t seq = 0, head_dim = 0;

  AttentionGrad(int64_t sequence, int64_t head) : seq(sequence), head_dim(head) {}
  std::string_view name() const override { return "attention_grad"; }
  std::string index_map() const override {
    return "q[n!,h] k[n,h] v[n,h] o[n,h] lse[n,h] do[n,h] -> dq[n,h] dk[n,h] dv[n,h]";
  }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override;
  bool outputs_side_by_side() const override { return true; }
  int64_t workspace_bytes(TypeSpan in, TypeSpan out, const Mesh& mesh, const Target& target) const override;
};

}  // namespace trine
