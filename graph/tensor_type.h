// The type of a value or state: element type, logical shape, and a placement per mesh axis.
#pragma once

#include <array>
#include <fmt/core.h>
#include <string>

#include "base/dtype.h"
#include "base/mesh.h"
#include "base/shape.h"
#include "graph/placement.h"

namespace trine {

struct TensorType {
  DType dtype = DType::kF32;
  Shape shape;                               // logical over every axis on which it is split, but for batch splits
  std::array<Placement, 3> placements = {};  // by Axis

  Placement on(Axis axis) const { return placements[static_cast<size_t>(axis)]; }
  Placement& on(Axis axis) { return placements[static_cast<size_t>(axis)]; }
  bool operator==(const TensorType&) const = default;
};

// One rank's shape. Without a coordinate: the largest shard's, which every rank reserves.
Shape local_shape(const TensorType& type, const Mesh& mesh, Coordinate coordinate);
Shape local_shape(const TensorType& type, const Mesh& mesh);
int64_t local_bytes(const TensorType& type, const Mesh& mesh);

std::string to_string(const TensorType& type);  // "bf16[1024,256] @tp=S0"; invariant axes are left out

}  // namespace trine

// So that a message names a type that is put into words only if it is needed.
template <>
struct fmt::formatter<trine::TensorType> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  fmt::format_context::iterator format(const trine::TensorType& type, fmt::format_context& context) const;
};
