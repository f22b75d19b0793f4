// Rotary position embedding (Su et al. 2021) in Hugging Face's convention: element j of a head's first half is
// rotated with element j of its second half, by position * inverse_frequency[j].
//   x [N, H * head_dim]   ->   y [N, H * head_dim]        N = batch * seq, a row's position is its index modulo seq
// The gradient is the inverse rotation. RopeAt is for generation:
// row n stands at `position` + n of the one sequence.
#pragma once

#include <memory>
#include <vector>

#include "graph/op.h"

namespace trine {

struct Rope final : Op {
  int64_t seq = 0, head_dim = 0;
  std::shared_ptr<const std::vector<double>> inverse_frequencies;  // head_dim / 2, radians per position
  bool inverse = false;

  std::string_view name() const override { return inverse ? "rope_grad" : "rope"; }
  std::string index_map() const override { return "x[n!,h] -> y[n,h] : x"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const override;
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override;
  std::vector<InPlace> in_place() const override { return {{0, 0}}; }
};

//   x [N, H * head_dim]   position [1] i32   ->   y [N, H * head_dim]        position + N <= max_seq
struct RopeAt final : Op {
  int64_t max_seq = 0, head_dim = 0;
  std::shared_ptr<const std::vector<double>> inverse_frequencies;  // as Rope's

  std::string_view name() const override { return "rope_at"; }
  std::string index_map() const override { return "x[n!,h] ~position[one] -> y[n,h] : x"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override;
  std::vector<InPlace> in_place() const override { return {{0, 0}}; }
};

}  // namespace trine
