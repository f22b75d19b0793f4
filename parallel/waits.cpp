#include <algorithm>
#include <map>
#include <vector>

#include "graph/builder.h"
#include "parallel/lanes.h"

namespace trine {
namespace {

// Who must come before a node: the last writer of what it reads, and all readers of what it overwrites.
class Hazards {
 public:
  explicit Hazards(const Graph& graph)
      : graph_(graph), value_root_(graph.values().size()), history_(graph.values().size() + graph.states().size()) {
    for (size_t v = 0; v < value_root_.size(); ++v) value_root_[v] = v;
  }

  // Of other lanes; in order. REQUIRES: called for every node once, in order. `at` is its place.
  const std::vector<int>& before(const Node& node, int at) {
    found_.clear(), lane_ = node.lane;
    for (ValueId input : node.inputs) read(resource(input), at);
    for (const InPlace& alias : node.in_place)
      follow(node.outputs[static_cast<size_t>(alias.output)], node.inputs[static_cast<size_t>(alias.input)]);
    if (node.op->is_view()) follow(node.outputs[0], node.inputs[0]);
    for (ValueId output : node.outputs)
      if (!node.op->is_view())
        write(resource(output), at);
      else
        history_[resource(output)].writers.push_back(at);
    for (StateId state : node.writes) write(resource(state), at);
    std::ranges::sort(found_);
    found_.erase(std::unique(found_.begin(), found_.end()), found_.end());
    return found_;
  }

 private:
  // A value, or behind all values a state's storage.
  using Resource = size_t;
  struct History {
    std::vector<int> writers, readers;  // since, and of, the last write
  };

  Resource resource(StateId state) const {
    while (graph_[state].storage.valid()) state = graph_[state].storage;
    return value_root_.size() + static_cast<size_t>(state.index);
  }
  Resource resource(ValueId value) const {
    const StateId state = graph_[value].state;
    return state.valid() ? resource(state) : value_root_[static_cast<size_t>(value.index)];
  }
  void follow(ValueId value, ValueId of) {
    value_root_[static_cast<size_t>(value.index)] = value_root_[static_cast<size_t>(of.index)];
  }
  void find(const std::vector<int>& nodes) {
    for (const int node : nodes)
      if (graph_.nodes()[static_cast<size_t>(node)].lane != lane_) found_.push_back(node);
  }
  void read(Resource resource, int at) {
    History& history = history_[resource];
    find(history.writers);
    history.readers.push_back(at);
  }
  // Microbatch nodes all write their part of a storage; outside, the last writer stands for all before it.
  void write(Resource resource, int at) {
    History& history = history_[resource];
    find(history.writers);
    find(history.readers);
    history.readers.clear();
    if (resource < value_root_.size() || graph_.nodes()[static_cast<size_t>(at)].region != Region::kMicrobatch)
      history.writers.clear();
    history.writers.push_back(at);
  }

  const Graph& graph_;
  std::vector<size_t> value_root_;  // whose bytes a value has
  std::vector<History> history_;    // by resource
  std::vector<int> found_;
  Lane lane_ = Lane::kCompute;  // of the node
};

}  // namespace

Graph add_waits(Graph graph) {
  Builder builder(std::move(graph));
  const std::vector<Node>& nodes = builder.graph().nodes();
  Hazards hazards(builder.graph());
  int at = 0;
  for (Node& node : builder.nodes()) {
    std::map<std::pair<Lane, int>, int> latest;  // by lane, and by chunk: their order is the schedule's
    node.waits.clear();
    for (const int other : hazards.before(node, at)) {
      const Node& earlier = nodes[static_cast<size_t>(other)];
      // Collectives of the epilogue start when what they move is there, in whichever order that is.
      if (earlier.region == Region::kEpilogue) {
        node.waits.push_back({other});
        continue;
      }
      int& last = latest.try_emplace({earlier.lane, earlier.chunk}, other).first->second;
      last = std::max(last, other);
    }
    for (const auto& [lane, last] : latest) node.waits.push_back({last});
    ++at;
  }
  return builder.finish();
}

}  // namespace trine
