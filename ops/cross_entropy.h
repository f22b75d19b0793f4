// Cross-entropy fused with log-softmax, in two ops so that the vocabulary may be split over tp: each rank reduces
// its own columns to three numbers per token, and only those are gathered.
//   logits [N, V]   labels [N] i32, -100 = ignored   ->   stats [R, N, 3] f32 (max, sum of exp(x - max), label's
//   logit) stats [R, N, 3]   labels [N]                      ->   loss [1] f32, the SUM over counted tokens
// R is the number of ranks over which the vocabulary is split (one here unless gathered); they are combined in rank
// order. Backward treats the max as a constant, which is exact: the loss does not depend on it.
#pragma once

#include "graph/op.h"

namespace trine {

struct VocabStats final : Op {
  int num_parts = 1;  // ranks over which the vocabulary is split

  explicit VocabStats(int parts = 1) : num_parts(parts) {}
  std::string_view name() const override { return "vocab_stats"; }
  std::string index_map() const override { return "logits[n,v] ~labels[n] -> stats[r,n,three]"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const override;
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes&) const override {}
  // Split over the vocabulary, each rank gives its own row of stats.
  std::variant<std::vector<Placement>, std::string> place(const IndexMap&, std::span<const Placement> in, Axis axis,
                                                          const Mesh& mesh) const override;
};

//   logits, labels, stats, dstats   ->   dlogits [N, V], over logits where nobody reads them later
struct VocabStatsGrad final : Op {
  std::string_view name() const override { return "vocab_stats_grad"; }
  std::string index_map() const override {
    return "logits[n,v] ~labels[n] stats[r,n,three] dstats[r,n,three] -> dlogits[n,v]";
  }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes&) const override {}
  std::vector<InPlace> in_place() const override { return {{0, 0}}; }
  std::variant<std::vector<Placement>, std::string> place(const IndexMap&, std::span<const Placement> in, Axis axis,
                                                          const Mesh& mesh) const override;
};

struct CrossEntropy final : Op {
  std::string_view name() const override { return "cross_entropy"; }
  std::string index_map() const override { return "stats[r!,n,three!] ~labels[n] -> loss[one]"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const override;
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes&) const override {}
};

//   stats [R, N, 3]   labels [N]   dloss [1]   ->   dstats [R, N, 3]
struct CrossEntropyGrad final : Op {
  std::string_view name() const override { return "cross_entropy_grad"; }
  std::string index_map() const override {
    return "stats[r!,n,three!] ~labels[n] ~dloss[one] -> dstats[r,n,three]";
  }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes&) const override {}
};

}  // namespace trine
