// Causal attention of the next N tokens of one sequence, whose keys and values are kept: what generation runs.
//   q [N, H * D]   k, v [N, G * D]   position [1] i32   ->   o [N, H * D]   (states) keys, values [max_seq, G * D]
// k and v become rows [position, position + N) of the caches; then row n attends to their rows [0, position + n].
// D = head_dim; query head h reads kv head h / (H / G); scores are scaled by 1 / sqrt(D). Rows from position + N on
// are neither read nor written. REQUIRES: position + N <= max_seq.
#pragma once

#include "graph/op.h"

namespace trine {

struct CachedAttention final : Op {
  int64_t max_seq = 0, head_dim = 0;

  CachedAttention(int64_t longest, int64_t head) : max_seq(longest), head_dim(head) {}
  std::string_view name() const override { return "cached_attention"; }
  std::string index_map() const override {
    return "q[n!,h] k[n,h] v[n,h] ~position[one] -> o[n,h] keys[s,h] values[s,h]";
  }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override;
  int num_writes() const override { return 2; }
  int64_t workspace_bytes(TypeSpan in, TypeSpan out, const Mesh& mesh, const Target& target) const override;
};

}  // namespace trine
