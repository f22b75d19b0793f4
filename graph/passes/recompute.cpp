#include "graph/passes/recompute.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "base/error.h"
#include "graph/passes/rewrite.h"

namespace trine {
namespace {

constexpr int64_t kNoLayer = -1;

int64_t layer_of(std::string_view scope) {  // 12 of "layers.12.attention"
  constexpr std::string_view kPrefix = "layers.";
  int64_t layer = kNoLayer;
  if (scope.starts_with(kPrefix))
    std::from_chars(scope.data() + kPrefix.size(), scope.data() + scope.size(), layer);
  return layer;
}

// By node: the first layer of its group, kNoLayer outside of the layers.
std::vector<int64_t> groups_of_layers(const Graph& graph, int64_t layers_per_group) {
  std::map<int, int64_t> first;  // by chunk
  for (const Node& node : graph.nodes())
    if (const int64_t layer = layer_of(node.scope); layer != kNoLayer) {
      const auto it = first.emplace(node.chunk, layer).first;
      it->second = std::min(it->second, layer);
    }
  std::vector<int64_t> groups;
  for (const Node& node : graph.nodes()) {
    const int64_t layer = layer_of(node.scope);
    const int64_t behind = layer == kNoLayer ? 0 : (layer - first.at(node.chunk)) % layers_per_group;
    groups.push_back(layer - behind);
  }
  return groups;
}

bool is_forward(const Node& node) { return node.region == Region::kMicrobatch && node.phase == Phase::kForward; }

// A clone may not write a state a second time, nor bring something in from outside again.
bool may_be_cloned(const Node& node) { return is_forward(node) && node.writes.empty() && !node.inputs.empty(); }

// By value: true if it is not kept for backward.
std::vector<bool> dropped_values(const Graph& graph, const RecomputeOptions& options) {
  using Policy = RecomputeOptions::Policy;
  const bool grouped = options.policy == Policy::kGroup;
  const std::vector<int64_t> group = groups_of_layers(graph, options.layers_per_group);
  std::vector<bool> dropped(graph.values().size(), false);
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    const Node& node = graph.nodes()[n];
    if (!is_forward(node)) continue;
    // What leaves its group is the next one's input, and kept.
    for (ValueId input : node.inputs)
      if (const NodeId producer = graph[input].producer; grouped && producer.valid())
        if (group[static_cast<size_t>(producer.index)] != group[n])
          dropped[static_cast<size_t>(input.index)] = false;
    if (!may_be_cloned(node)) continue;
    const Rebuild rebuild = node.op->rebuild();
    const bool drop = rebuild == Rebuild::kAlways || (grouped && group[n] != kNoLayer) ||
                      (options.policy == Policy::kSelective && rebuild == Rebuild::kCheap);
    for (ValueId output : node.outputs) dropped[static_cast<size_t>(output.index)] = drop;
  }
  return dropped;
}

class Recomputation {
 public:
  Recomputation(Graph graph, const RecomputeOptions& options)
      : dropped_(dropped_values(graph, options)), rebuilt_(graph.values().size()), builder_(std::move(graph)) {}

  Graph run() {
    nodes_ = take_nodes(builder_);
    for (Node node : nodes_) {
      if (node.region == Region::kMicrobatch && node.phase != Phase::kForward)
        for (ValueId& input : node.inputs) input = in_backward(input);
      append(builder_, std::move(node));
    }
    return builder_.finish();
  }

 private:
  // The value, or its clone's.
  ValueId in_backward(ValueId value) {
    const size_t index = static_cast<size_t>(value.index);
    if (index >= dropped_.size() || !dropped_[index]) return value;
    if (!rebuilt_[index].valid()) clone(nodes_[static_cast<size_t>(builder_.graph()[value].producer.index)]);
    return rebuilt_[index];
  }

  // Clones stand behind all forward nodes, which therefore keep their places: a producer's index is one in nodes_.
  void clone(const Node& node) {
    std::vector<ValueId> inputs;
    for (ValueId input : node.inputs) inputs.push_back(in_backward(input));
    builder_.enter(Region::kMicrobatch, Phase::kInputGrad);
    builder_.set_scope(node.scope);
    builder_.set_chunk(node.chunk);
    const std::vector<ValueId> outputs = builder_.emit(node.op, std::move(inputs));
    builder_.nodes().back().recompute = true;
    for (size_t i = 0; i < outputs.size(); ++i) rebuilt_[static_cast<size_t>(node.outputs[i].index)] = outputs[i];
  }

  const std::vector<bool> dropped_;
  std::vector<ValueId> rebuilt_;  // by forward value
  std::vector<Node> nodes_;       // as they were
  Builder builder_;
};

}  // namespace

Graph recompute(Graph graph, const RecomputeOptions& options) {
  TRINE_CHECK(options.layers_per_group > 0, "groups of {} layers", options.layers_per_group);
  return Recomputation(std::move(graph), options).run();
}

}  // namespace trine
