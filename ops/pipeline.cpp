#include "ops/pipeline.h"

#include "graph/builder.h"

namespace trine {
namespace {

using Placements = std::variant<std::vector<Placement>, std::string>;

TensorType dual_of(TensorType type) {
  for (Axis axis : kAxes) type.on(axis) = dual(type.on(axis));
  return type;
}

// What a stage passes on must be whole, or a share of the tokens: a sum is finished where it is made.
Placements nothing_unless_partial(std::string_view op, Placement in, Axis axis) {
  if (in.is(PlacementKind::kPartial)) return fmt::format("{} takes no partial value (on {})", op, name(axis));
  return std::vector<Placement>{};
}

Cost cost_of_sending(TypeSpan in, const Mesh& mesh) {
  const int64_t bytes = local_bytes(in[0], mesh);
  return {.flops = 0, .bytes_read = bytes, .bytes_written = 0, .wire_bytes = bytes};
}

Cost cost_of_receiving(TypeSpan out, const Mesh& mesh) {
  return {.flops = 0, .bytes_read = 0, .bytes_written = local_bytes(out[0], mesh), .wire_bytes = 0};
}

}  // namespace

std::vector<ValueId> Send::vjp(Builder& b, const Node& node, std::span<const ValueId>) const {
  return {b.add(Receive(to_stage, true, dual_of(b.type(node.inputs[0]))), {})};
}

Cost Send::cost(TypeSpan in, TypeSpan, const Mesh& mesh) const { return cost_of_sending(in, mesh); }

// A gradient of a value that all ranks of an axis use alike (I) is I, of a replicated one it would be a sum.
Placements Send::place(const IndexMap&, std::span<const Placement> in, Axis axis, const Mesh&) const {
  return nothing_unless_partial(name(), in[0], axis);
}

std::vector<ValueId> Receive::vjp(Builder& b, const Node&, std::span<const ValueId> dy) const {
  b.add_many(Send(from_stage, true), {dy[0]});
  return {};
}

Cost Receive::cost(TypeSpan, TypeSpan out, const Mesh& mesh) const { return cost_of_receiving(out, mesh); }

std::shared_ptr<const Op> Receive::with_compute_type(DType dtype) const {
  Receive other = *this;
  other.type.dtype = dtype;
  return std::make_shared<const Receive>(std::move(other));
}

Placements Receive::place(const IndexMap&, std::span<const Placement>, Axis axis, const Mesh&) const {
  return std::vector{type.on(axis)};
}

Cost SendState::cost(TypeSpan in, TypeSpan, const Mesh& mesh) const { return cost_of_sending(in, mesh); }

Placements SendState::place(const IndexMap&, std::span<const Placement> in, Axis axis, const Mesh&) const {
  return nothing_unless_partial(name(), in[0], axis);
}

Cost ReceiveState::cost(TypeSpan, TypeSpan out, const Mesh& mesh) const { return cost_of_receiving(out, mesh); }

Placements ReceiveState::place(const IndexMap&, std::span<const Placement>, Axis axis, const Mesh&) const {
  return std::vector{type.on(axis)};
}

}  // namespace trine
