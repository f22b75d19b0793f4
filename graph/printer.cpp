#include "graph/printer.h"

#include <algorithm>

#include "base/text.h"

namespace trine {
namespace {

std::string operand(const Graph& graph, ValueId id) {
  if (!id.valid()) return "%?";
  const Value& value = graph[id];
  return value.state.valid() ? graph[value.state].name : "%" + std::to_string(id.index);
}

std::string list(const auto& items, auto&& text_of) {
  std::string text;
  for (const auto& item : items) text += (text.empty() ? "" : ", ") + text_of(item);
  return text;
}

std::string region_header(const Graph& graph, const Node& node) {
  std::string text = fmt::format("{}", name(node.region));
  if (node.region == Region::kMicrobatch) text += fmt::format(", phase {}", letter(node.phase));
  const Mesh& mesh = graph.mesh();
  if (mesh.num_ranks() > 1) text += fmt::format("   (pp={} dp={} tp={})", mesh.pp, mesh.dp, mesh.tp);
  return text;
}

}  // namespace

std::string print_node(const Graph& graph, const Node& node) {
  const auto value_name = [&](ValueId id) { return operand(graph, id); };
  std::string line = list(node.outputs, value_name);
  if (!line.empty()) line += " = ";
  line += fmt::format("{}({})", node.op->name(), list(node.inputs, value_name));
  if (!node.writes.empty()) line += " -> " + list(node.writes, [&](StateId id) { return graph[id].name; });
  Attributes attributes;
  node.op->describe(attributes);
  if (!attributes.list().empty())
    line += " {" + list(attributes.list(), [](const auto& a) { return a.first + "=" + a.second; }) + "}";
  if (!node.outputs.empty())
    line =
        fmt::format("{:<72} : {}", line, list(node.outputs, [&](ValueId id) { return to_string(graph[id].type); }));
  for (const InPlace& alias : node.in_place)
    line += fmt::format("   {} over {}", value_name(node.outputs[static_cast<size_t>(alias.output)]),
                        value_name(node.inputs[static_cast<size_t>(alias.input)]));
  if (node.lane != Lane::kCompute) line += fmt::format("   lane {}", name(node.lane));
  if (node.recompute) line += "   recomputed";
  if (!node.waits.empty())
    line += "   after " + list(node.waits, [&](NodeId id) {
              const Node& other = graph[id];
              return fmt::format("{}#{} {}", name(other.lane), id.index, other.op->name());
            });
  return line;
}

std::string print(const Graph& graph) {
  std::string text = "states\n";
  for (const State& state : graph.states()) {
    text += fmt::format("  {:<56} : {:<28} {}", state.name, to_string(state.type), name(state.role));
    if (state.storage.valid())
      text += fmt::format("   in {} at {}", graph[state.storage].name, format_count(state.offset));
    text += '\n';
  }
  std::string header, scope;
  for (const Node& node : graph.nodes()) {
    if (const std::string next = region_header(graph, node); next != header) {
      header = next;
      text += header + '\n';
      scope.clear();
    }
    if (node.scope != scope) {
      scope = node.scope;
      text += "  " + scope + '\n';
    }
    text += "    " + print_node(graph, node) + '\n';
  }
  return text;
}

std::string print_around(const Graph& graph, size_t index) {
  std::string text;
  const size_t begin = index < 5 ? 0 : index - 5, end = std::min(graph.nodes().size(), begin + 10);
  for (size_t i = begin; i < end; ++i)
    text += fmt::format("{} {}\n", i == index ? "-->" : "   ", print_node(graph, graph.nodes()[i]));
  return text;
}

}  // namespace trine
