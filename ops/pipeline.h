// The edges of a pipeline: a stage sends its output to the next stage and the gradient of its input to the one
// before. Each is the other's gradient: what a stage sent forward comes back as a received gradient.
#pragma once

#include "graph/op.h"

namespace trine {

//   x [..]   ->   (nothing)
struct Send final : Op {
  int to_stage = 0;
  bool backward = false;  // a gradient

  Send(int stage, bool is_gradient) : to_stage(stage), backward(is_gradient) {}
  std::string_view name() const override { return backward ? "send_grad" : "send"; }
  std::string index_map() const override { return "~x[n,d] -> "; }
  Types infer(TypeSpan) const override { return {}; }
  // The received gradient, of the dual placement.
  std::vector<ValueId> vjp(Builder& b, const Node& node, std::span<const ValueId>) const override;
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override { a("to", to_stage); }
  bool is_transfer() const override { return true; }
  bool leaves_stage() const override { return !backward; }
  std::variant<std::vector<Placement>, std::string> place(const IndexMap&, std::span<const Placement> in, Axis axis,
                                                          const Mesh& mesh) const override;
};

//   (nothing)   ->   x [..] of `type`
struct Receive final : Op {
  int from_stage = 0;
  bool backward = false;
  TensorType type;

  Receive(int stage, bool is_gradient, TensorType of)
      : from_stage(stage), backward(is_gradient), type(std::move(of)) {}
  std::string_view name() const override { return backward ? "receive_grad" : "receive"; }
  std::string index_map() const override { return " -> x[n,d]"; }
  Types infer(TypeSpan) const override { return {{type.dtype, type.shape}}; }
  // Sends the gradient back.
  std::vector<ValueId> vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const override;
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override { a("from", from_stage); }
  bool is_transfer() const override { return true; }
  std::shared_ptr<const Op> with_compute_type(DType dtype) const override;
  std::variant<std::vector<Placement>, std::string> place(const IndexMap&, std::span<const Placement> in, Axis axis,
                                                          const Mesh& mesh) const override;
};

// Once a step, between the first and the last stage, which both use a tied embedding: a state goes as it is to the
// same (dp, tp) coordinate.
//   x [E]   ->   (nothing)
struct SendState final : Op {
  int to_rank = 0;  // pp coordinate

  explicit SendState(int pp_rank) : to_rank(pp_rank) {}
  std::string_view name() const override { return "send_state"; }
  std::string index_map() const override { return "~x[e] -> "; }
  Types infer(TypeSpan) const override { return {}; }
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override { a("to", to_rank); }
  std::variant<std::vector<Placement>, std::string> place(const IndexMap&, std::span<const Placement> in, Axis axis,
                                                          const Mesh& mesh) const override;
};

//   (nothing)   ->   (state) x [E] of `type`
struct ReceiveState final : Op {
  int from_rank = 0;  // pp coordinate
  TensorType type;

  ReceiveState(int pp_rank, TensorType of) : from_rank(pp_rank), type(std::move(of)) {}
  std::string_view name() const override { return "receive_state"; }
  std::string index_map() const override { return " -> x[e]"; }
  Types infer(TypeSpan) const override { return {{type.dtype, type.shape}}; }
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override { a("from", from_rank); }
  int num_writes() const override { return 1; }
  std::variant<std::vector<Placement>, std::string> place(const IndexMap&, std::span<const Placement> in, Axis axis,
                                                          const Mesh& mesh) const override;
};

}  // namespace trine
