#include "graph/tensor_type.h"

#include <fmt/core.h>

namespace trine {

Shape local_shape(const TensorType& type, const Mesh& mesh, Coordinate coordinate) {
  Shape shape = type.shape;
  for (Axis axis : kAxes) {
    const Placement p = type.on(axis);
    if (p.is(PlacementKind::kSplit) && !p.batch)
      shape[p.dim] = split_size(shape[p.dim], mesh[axis], coordinate[axis]);
  }
  return shape;
}

Shape local_shape(const TensorType& type, const Mesh& mesh) { return local_shape(type, mesh, Coordinate{}); }

int64_t local_bytes(const TensorType& type, const Mesh& mesh) {
  return local_shape(type, mesh).num_elements() * static_cast<int64_t>(size_bytes(type.dtype));
}

std::string to_string(const TensorType& type) {
  std::string text = fmt::format("{}{}", name(type.dtype), to_string(type.shape));
  for (Axis axis : kAxes)
    if (!type.on(axis).is(PlacementKind::kInvariant))
      text += fmt::format(" @{}={}", name(axis), to_string(type.on(axis)));
  return text;
}

}  // namespace trine

fmt::format_context::iterator fmt::formatter<trine::TensorType>::format(const trine::TensorType& type,
                                                                        fmt::format_context& context) const {
  return fmt::format_to(context.out(), "{}", trine::to_string(type));
}
