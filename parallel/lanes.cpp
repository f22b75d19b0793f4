#include "parallel/lanes.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "base/error.h"
#include "graph/builder.h"
#include "graph/passes/rewrite.h"
#include "ops/collective.h"
#include "ops/linear.h"

namespace trine {
namespace {

Lane lane_of(const Node& node) {
  if (node.op->is_transfer() || node.op->name() == "send_state" || node.op->name() == "receive_state")
    return Lane::kPp;
  const auto* collective = dynamic_cast<const Collective*>(node.op.get());
  if (collective == nullptr || collective->is_local()) return Lane::kCompute;
  return collective->axis == Axis::kTp ? Lane::kTp : collective->axis == Axis::kDp ? Lane::kDp : Lane::kPp;
}

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

Graph assign_lanes(Graph graph) {
  Builder builder(std::move(graph));
  for (Node& node : builder.nodes()) node.lane = lane_of(node);
  return builder.finish();
}

namespace {

// A weight gradient that is put off, with the recomputed nodes that only it needs.
struct PutOff {
  std::vector<int> first;  // in order
  int product = 0;
  bool prepared = false;  // `first` has been issued
};

// The order of one backward action.
class Overlap {
 public:
  explicit Overlap(const Graph& graph) : graph_(graph), users_(graph.values().size()) {
    for (size_t n = 0; n < graph.nodes().size(); ++n)
      for (ValueId input : graph.nodes()[n].inputs)
        users_[static_cast<size_t>(input.index)].push_back(static_cast<int>(n));
  }

  std::vector<int> order(const std::vector<int>& action) {
    const bool waits = std::any_of(action.begin(), action.end(), [&](int n) { return is_awaited(n); });
    order_.clear(), waiting_.clear();
    for (const int n : action) {
      if (needed_by_product_only(n)) continue;  // comes with its product
      if (is_weight_gradient(n)) {
        put_off(n, action);
        continue;
      }
      order_.push_back(n);
      if (is_awaited(n)) hide();
    }
    // Without such a collective (the W of a zero-bubble schedule) each gathers what it needs one product ahead.
    for (size_t i = 0; i < waiting_.size(); ++i) {
      prepare(waiting_[i]);
      if (!waits && i + 1 < waiting_.size()) prepare(waiting_[i + 1]);
      order_.push_back(waiting_[i].product);
    }
    return order_;
  }

 private:
  const Node& node(int n) const { return graph_.nodes()[static_cast<size_t>(n)]; }
  bool is_weight_gradient(int n) const {
    return dynamic_cast<const LinearGradWeight*>(node(n).op.get()) != nullptr;
  }
  // A collective on which the gradient of the layers before depends.
  bool is_awaited(int n) const { return node(n).lane == Lane::kTp && !needed_by_product_only(n); }

  // The one weight gradient of this action that is the only reason for a recomputed node, -1 if there is none.
  int only_product(int n) const {
    if (!node(n).recompute || !node(n).writes.empty()) return -1;
    int product = -1;
    for (const ValueId output : node(n).outputs)
      for (const int user : users_[static_cast<size_t>(output.index)]) {
        const int next = is_weight_gradient(user) ? user : only_product(user);
        if (next < 0 || (product >= 0 && next != product)) return -1;
        product = next;
      }
    return product >= 0 && node(product).phase == node(n).phase ? product : -1;
  }
  bool needed_by_product_only(int n) const { return only_product(n) >= 0; }

  void put_off(int product, const std::vector<int>& action) {
    PutOff entry{.first = {}, .product = product};
    for (const int n : action)
      if (only_product(n) == product) entry.first.push_back(n);
    waiting_.push_back(std::move(entry));
  }

  void prepare(PutOff& entry) {
    if (!entry.prepared) order_.insert(order_.end(), entry.first.begin(), entry.first.end());
    entry.prepared = true;
  }

  // A collective is under way: one product runs meanwhile, if what it needs is there; the others gather theirs
  // behind.
  void hide() {
    const bool ready = !waiting_.empty() && (waiting_.front().prepared || waiting_.front().first.empty());
    for (PutOff& entry : waiting_) prepare(entry);
    if (!ready) return;
    order_.push_back(waiting_.front().product);
    waiting_.erase(waiting_.begin());
  }

  const Graph& graph_;
  std::vector<std::vector<int>> users_;  // by value
  std::vector<int> order_;
  std::vector<PutOff> waiting_;
};

}  // namespace

Graph overlap_communication(Graph graph) {
  if (graph.mesh().tp == 1) return graph;
  Overlap overlap(graph);
  std::vector<int> order;
  const int count = static_cast<int>(graph.nodes().size());
  const auto node = [&](int n) -> const Node& { return graph.nodes()[static_cast<size_t>(n)]; };
  for (int begin = 0; begin < count;) {
    int end = begin;
    std::vector<int> action;
    while (end < count && std::tie(node(end).region, node(end).phase, node(end).chunk) ==
                              std::tie(node(begin).region, node(begin).phase, node(begin).chunk))
      action.push_back(end++);
    const bool backward = node(begin).region == Region::kMicrobatch && node(begin).phase != Phase::kForward;
    const std::vector<int> ordered = backward ? overlap.order(action) : action;
    order.insert(order.end(), ordered.begin(), ordered.end());
    begin = end;
  }
  TRINE_CHECK(static_cast<int>(order.size()) == count, "{} nodes of {} have a place", order.size(), count);
  Builder builder(std::move(graph));
  std::vector<Node> nodes = take_nodes(builder);
  for (const int n : order) append(builder, std::move(nodes[static_cast<size_t>(n)]));
  return builder.finish();
}

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
