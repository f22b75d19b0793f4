#include <algorithm>
#include <map>
#include <set>

#include "graph/builder.h"
#include "parallel/lanes.h"

namespace trine {
namespace {

// Who must come before a node: the last writer of what it reads, and all readers of what it overwrites.
class Hazards {
 public:
  explicit Hazards(const Graph& graph) : graph_(graph), value_root_(graph.values().size()) {
    for (size_t v = 0; v < value_root_.size(); ++v) value_root_[v] = v;
  }

  // REQUIRES: called for every node once, in order. `at` is its place.
  std::set<int> before(const Node& node, int at) {
    std::set<int> found;
    for (ValueId input : node.inputs) read(resource(input), at, found);
    for (const InPlace& alias : node.in_place)
      follow(node.outputs[static_cast<size_t>(alias.output)], node.inputs[static_cast<size_t>(alias.input)]);
    if (node.op->is_view()) follow(node.outputs[0], node.inputs[0]);
    for (ValueId output : node.outputs)
      if (!node.op->is_view())
        write(resource(output), at, found);
      else
        history_[resource(output)].writers.push_back(at);
    for (StateId state : node.writes) write(resource(state), at, found);
    found.erase(at);
    return found;
  }

 private:
  // A value, or a state's storage as a negative number.
  using Resource = int64_t;
  struct History {
    std::vector<int> writers, readers;  // since, and of, the last write
  };

  Resource resource(StateId state) const {
    while (graph_[state].storage.valid()) state = graph_[state].storage;
    return -1 - int64_t{state.index};
  }
  Resource resource(ValueId value) const {
    const StateId state = graph_[value].state;
    return state.valid() ? resource(state) : static_cast<Resource>(value_root_[static_cast<size_t>(value.index)]);
  }
  void follow(ValueId value, ValueId of) {
    value_root_[static_cast<size_t>(value.index)] = value_root_[static_cast<size_t>(of.index)];
  }
  void read(Resource resource, int at, std::set<int>& found) {
    History& history = history_[resource];
    found.insert(history.writers.begin(), history.writers.end());
    history.readers.push_back(at);
  }
  // Microbatch nodes all write their part of a storage; outside, the last writer stands for all before it.
  void write(Resource resource, int at, std::set<int>& found) {
    History& history = history_[resource];
    found.insert(history.writers.begin(), history.writers.end());
    found.insert(history.readers.begin(), history.readers.end());
    history.readers.clear();
    if (resource >= 0 || graph_.nodes()[static_cast<size_t>(at)].region != Region::kMicrobatch)
      history.writers.clear();
    history.writers.push_back(at);
  }

  const Graph& graph_;
  std::vector<size_t> value_root_;  // whose bytes a value has
  std::map<Resource, History> history_;
};

}  // namespace

Graph add_waits(Graph graph) {
  const Graph before = graph;
  Builder builder(std::move(graph));
  Hazards hazards(before);
  int at = 0;
  for (Node& node : builder.nodes()) {
    std::map<std::pair<Lane, int>, int> latest;  // by lane, and by chunk: their order is the schedule's
    node.waits.clear();
    for (const int other : hazards.before(before.nodes()[static_cast<size_t>(at)], at)) {
      const Node& earlier = before.nodes()[static_cast<size_t>(other)];
      if (earlier.lane == node.lane) continue;
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
