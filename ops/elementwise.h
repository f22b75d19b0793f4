// Plain elementwise ops.
#pragma once

#include "graph/op.h"

namespace trine {

//   a, b [N, D]   ->   y [N, D] = a + b
struct Add final : Op {
  std::string_view name() const override { return "add"; }
  std::string index_map() const override { return "a[n,d] b[n,d] -> y[n,d] : a+b"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const override;
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override { return streaming_cost(in, out, mesh, 1); }
  void describe(Attributes&) const override {}
  std::vector<InPlace> in_place() const override { return {{0, 0}, {0, 1}}; }
};

//   x [N, D]   ->   y [N, D] of another float type, rounded to nearest even
struct Cast final : Op {
  DType to = DType::kF32;

  explicit Cast(DType target) : to(target) {}
  std::string_view name() const override { return "cast"; }
  std::string index_map() const override { return "x[n,d] -> y[n,d] : x"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const override;
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override { return streaming_cost(in, out, mesh, 0); }
  void describe(Attributes& a) const override { a("to", trine::name(to)); }
  Rebuild rebuild() const override { return Rebuild::kCheap; }
};

// Adds a gradient into an f32 state. With `overwrites`, the first write of a step overwrites.
//   x [..]   ->   (state) sum [..] f32
struct Accumulate final : Op {
  int num_dims = 1;
  bool overwrites = true;

  explicit Accumulate(int dims, bool first_overwrites = true) : num_dims(dims), overwrites(first_overwrites) {}
  std::string_view name() const override { return "accumulate"; }
  std::string index_map() const override { return num_dims == 1 ? "x[n] -> sum[n] : x" : "x[n,d] -> sum[n,d] : x"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override { a("overwrites", overwrites); }
  int num_writes() const override { return 1; }
};

}  // namespace trine
