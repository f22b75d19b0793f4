#include "runtime/step/non_finite.h"

#include <fmt/core.h>

#include "base/clock.h"

namespace trine {

std::optional<NonFinite> first_non_finite(const Graph& graph, const Node& node, int microbatch,
                                          std::span<const TensorView> outputs, const Backend& backend) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const int64_t count = backend.count_non_finite(outputs[i]);
    if (count == 0) continue;
    const bool is_state = i >= node.outputs.size();
    const StateId state = is_state ? node.writes[i - node.outputs.size()] : StateId{};
    const ValueId value = is_state ? graph[state].value : node.outputs[i];
    const std::string& name = graph[value].name;
    return NonFinite{
        now_ns(), fmt::format("{}: {} -> {} {}, microbatch {}: {} of {} elements", node.scope, node.op->name(),
                              name.empty() ? fmt::format("%{}", value.index) : name, to_string(graph[value].type),
                              microbatch, count, outputs[i].num_elements())};
  }
  return std::nullopt;
}

}  // namespace trine
