// Says which tensor is not finite.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "graph/graph.h"
#include "runtime/device/backend.h"

namespace trine {

struct NonFinite {
  int64_t time_ns = 0;  // when it was found
  std::string tensor;   // "layers.3.ffn: linear -> %27 bf16[1024,688], microbatch 2: 17 of 704512 elements"
};

// The first of a node's outputs, and of the states that it writes behind them, that is not finite.
std::optional<NonFinite> first_non_finite(const Graph& graph, const Node& node, int microbatch,
                                          std::span<const TensorView> outputs, const Backend& backend);

}  // namespace trine
