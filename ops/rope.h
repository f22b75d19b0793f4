// Rotary position embedding (Su et al. 2021) in Hugging Face's convention: element j of a head's first half is
// rotated with element j of its second half, by position * inverse_frequency[j].
//   x [N, H * head_dim]   ->   y [N, H * head_dim]        N = batch * seq, a row's position is its index modulo seq
// The gradient is the inverse rotation.
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

}  // namespace trine
