// Root-mean-square norm over the last dim (Zhang & Sennrich 2019), as LLaMA uses it.
//   x [N, D]   weight [D]   ->   y [N, D] = x * rstd * weight   rstd [N] f32 = 1 / sqrt(mean(x^2) + eps)
// rstd is an output because backward reads it; recomputation may drop and rebuild it.
#pragma once

#include "graph/op.h"

namespace trine {

struct RmsNorm final : Op {
  float eps = 1e-5f;

  explicit RmsNorm(float epsilon) : eps(epsilon) {}
  std::string_view name() const override { return "rms_norm"; }
  std::string index_map() const override { return "x[n,d!] w[d] -> y[n,d] rstd[n]"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const override;
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override { a("eps", eps); }
  Rebuild rebuild() const override { return Rebuild::kCheap; }
};

//   x [N, D]   weight [D]   rstd [N]   dy [N, D]   ->   dx [N, D]   dweight [D] f32
struct RmsNormGrad final : Op {
  std::string_view name() const override { return "rms_norm_grad"; }
  std::string index_map() const override { return "x[n,d!] w[d] rstd[n] dy[n,d] -> dx[n,d] dw[d] : dy"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes&) const override {}
  std::vector<InPlace> in_place() const override { return {{0, 3}}; }
  int64_t workspace_bytes(TypeSpan in, TypeSpan out, const Mesh& mesh, const Target& target) const override;
};

// The residual sum and the norm that reads it, in one pass over memory.
//   a, b [N, D]   weight [D]   ->   sum [N, D] = a + b   y [N, D]   rstd [N] f32 = rms_norm(sum, weight)
struct AddRmsNorm final : Op {
  RmsNorm norm;

  explicit AddRmsNorm(const RmsNorm& of_the_sum) : norm(of_the_sum) {}
  std::string_view name() const override { return "add_rms_norm"; }
  std::string index_map() const override { return "a[n,d!] b[n,d!] w[d] -> sum[n,d] y[n,d] rstd[n]"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override { norm.describe(a); }
  std::vector<InPlace> in_place() const override { return {{0, 0}, {0, 1}, {1, 1}, {1, 0}}; }
  std::vector<ValueId> decompose(Builder& b, std::span<const ValueId> in) const override;
};

// The norm's gradient and the sum with the residual's.
//   x, weight, rstd, dy as in rms_norm_grad   residual [N, D]
//     ->   dweight [D] f32   dx [N, D] = residual + dx of it
struct RmsNormGradAdd final : Op {
  std::string_view name() const override { return "rms_norm_grad_add"; }
  std::string index_map() const override {
    return "x[n,d!] w[d] rstd[n] dy[n,d] residual[n,d] -> dw[d] dx[n,d] : dy+residual";
  }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes&) const override {}
  std::vector<InPlace> in_place() const override { return {{1, 3}, {1, 4}}; }
  std::vector<ValueId> decompose(Builder& b, std::span<const ValueId> in) const override;
  int64_t workspace_bytes(TypeSpan in, TypeSpan out, const Mesh& mesh, const Target& target) const override;
};

}  // namespace trine
