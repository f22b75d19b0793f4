// Token embedding: row ids[n] of a table.
//   ids [N] i32   table [V, D]   ->   y [N, D]
// Split over the vocabulary (tp), each rank gives its own rows and zeros elsewhere: y is partial.
#pragma once

#include "graph/op.h"

namespace trine {

struct Embedding final : Op {
  std::string_view name() const override { return "embedding"; }
  std::string index_map() const override { return "~ids[n] table[v,d] -> y[n,d] : table"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const override;
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes&) const override {}
};

// Adds dy's rows into the table's f32 gradient, in increasing order of n; the first write of a step overwrites.
//   ids [N]   dy [N, D]   ->   (state) dtable [V, D] f32
struct EmbeddingGrad final : Op {
  int64_t vocab = 0;

  explicit EmbeddingGrad(int64_t vocab_size) : vocab(vocab_size) {}
  std::string_view name() const override { return "embedding_grad"; }
  std::string index_map() const override { return "~ids[n] dy[n,d] -> dtable[v,d] : dy"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override { a("vocab", vocab); }
  int num_writes() const override { return 1; }
  std::variant<std::vector<Placement>, std::string> place(const IndexMap&, std::span<const Placement> in, Axis axis,
                                                          const Mesh& mesh) const override;
};

}  // namespace trine
