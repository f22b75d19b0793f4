// How a step's samples and host numbers enter the graph.
#pragma once

#include "graph/op.h"

namespace trine {

// Copies the step's samples from the host.   ->   (states) ids, labels [M * N] i32, M microbatches of N tokens
struct LoadBatch final : Op {
  int64_t num_tokens = 0;  // M * N of one dp rank
  bool batch_split = false;

  explicit LoadBatch(int64_t tokens, bool split_over_dp) : num_tokens(tokens), batch_split(split_over_dp) {}
  std::string_view name() const override { return "load_batch"; }
  std::string index_map() const override { return " -> ids[n] labels[n]"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override { return streaming_cost(in, out, mesh, 0); }
  void describe(Attributes& a) const override { a("tokens", num_tokens); }
  int num_writes() const override { return 2; }
  std::variant<std::vector<Placement>, std::string> place(const IndexMap&, std::span<const Placement> in, Axis axis,
                                                          const Mesh& mesh) const override;
};

// Copies the step's host numbers: learning rate, loss scale.   ->   (states) lr [1] f32, loss_scale [1] f32
struct LoadScalars final : Op {
  std::string_view name() const override { return "load_scalars"; }
  std::string index_map() const override { return " -> lr[one] loss_scale[one]"; }
  Types infer(TypeSpan) const override { return {{DType::kF32, {1}}, {DType::kF32, {1}}}; }
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override { return streaming_cost(in, out, mesh, 0); }
  void describe(Attributes&) const override {}
  int num_writes() const override { return 2; }
};

// The tokens of the current microbatch.   batch [M * N] i32   ->   tokens [N] i32
struct TakeMicrobatch final : Op {
  int64_t num_tokens = 0;  // N

  explicit TakeMicrobatch(int64_t tokens) : num_tokens(tokens) {}
  std::string_view name() const override { return "take_microbatch"; }
  std::string index_map() const override { return "~batch[n] -> tokens[n]"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override { a("tokens", num_tokens); }
};

// Zero: what an earlier step left must not count again.   ->   (state) x [1]
struct Clear final : Op {
  TensorType type;

  explicit Clear(TensorType of) : type(std::move(of)) {}
  std::string_view name() const override { return "clear"; }
  std::string index_map() const override { return " -> x[one]"; }
  Types infer(TypeSpan) const override { return {{type.dtype, type.shape}}; }
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override { return streaming_cost(in, out, mesh, 0); }
  void describe(Attributes&) const override {}
  int num_writes() const override { return 1; }
  std::variant<std::vector<Placement>, std::string> place(const IndexMap&, std::span<const Placement>, Axis axis,
                                                          const Mesh&) const override {
    return std::vector{type.on(axis)};
  }
};

// Labels that count in the loss (>= 0).   labels [M * N] i32   ->   (state) count [1] i64, exact over all ranks
struct CountValid final : Op {
  std::string_view name() const override { return "count_valid"; }
  std::string index_map() const override { return "labels[n] -> count[one] : labels"; }
  Types infer(TypeSpan) const override { return {{DType::kI64, {1}}}; }
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override { return streaming_cost(in, out, mesh, 0); }
  void describe(Attributes&) const override {}
  int num_writes() const override { return 1; }
};

// Where backward starts: d(mean loss * loss_scale) / d(sum loss).
//   loss_scale [1] f32   count [1] i64   ->   seed [1] f32 = loss_scale / count, rounded once
struct LossSeed final : Op {
  std::string_view name() const override { return "loss_seed"; }
  std::string index_map() const override { return "~loss_scale[one] ~count[one] -> seed[one]"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override { return streaming_cost(in, out, mesh, 1); }
  void describe(Attributes&) const override {}
  // The loss is a sum over dp and replicated work elsewhere; its seed is used by every rank for its own share.
  std::variant<std::vector<Placement>, std::string> place(const IndexMap&, std::span<const Placement> in, Axis axis,
                                                          const Mesh& mesh) const override;
};

}  // namespace trine
