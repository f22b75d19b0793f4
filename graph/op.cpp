#include "graph/op.h"

#include "base/error.h"

namespace trine {

std::variant<std::vector<Placement>, std::string> Op::place(const IndexMap& map, std::span<const Placement> inputs,
                                                            Axis axis, const Mesh&) const {
  return derive_placements(map, inputs, axis);
}

Cost streaming_cost(TypeSpan inputs, TypeSpan outputs, const Mesh& mesh, double flops_per_element) {
  Cost cost;
  for (const TensorType& type : inputs) cost.bytes_read += local_bytes(type, mesh);
  for (const TensorType& type : outputs) cost.bytes_written += local_bytes(type, mesh);
  if (!outputs.empty())
    cost.flops = flops_per_element * static_cast<double>(local_shape(outputs[0], mesh).num_elements());
  return cost;
}

std::vector<ValueId> no_vjp(const Op& op) {
  TRINE_CHECK(false, "{} has no gradient", op.name());
  return {};
}

}  // namespace trine
