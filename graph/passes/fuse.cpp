#include "graph/passes/fuse.h"

#include <algorithm>
#include <optional>
#include <set>

#include "graph/passes/rewrite.h"

namespace trine {
namespace {

bool run_together(const Node& a, const Node& b) {
  return a.region == b.region && a.phase == b.phase && a.chunk == b.chunk && a.recompute == b.recompute;
}

class Fuser {
 public:
  explicit Fuser(Graph graph) : builder_(std::move(graph)), nodes_(take_nodes(builder_)), readers_(num_values()) {
    for (size_t n = 0; n < nodes_.size(); ++n) {
      place_.push_back(n);
      for (ValueId input : nodes_[n].inputs) readers_[index(input)].push_back(n);
    }
    for (const GradientPair& pair : builder_.graph().gradients()) gradients_.insert(pair.gradient);
  }

  void apply(const Fusion& fusion) {
    for (size_t second = 0; second < nodes_.size(); ++second) {
      if (fused_.contains(second) || nodes_[second].op->name() != fusion.second) continue;
      for (ValueId link : nodes_[second].inputs) {
        const NodeId producer = builder_.value(link).producer;
        if (!producer.valid()) continue;
        const size_t first = static_cast<size_t>(producer.index);
        if (fused_.contains(first) || nodes_[first].op->name() != fusion.first) continue;
        if (!may_fuse(fusion, first, second, link)) continue;
        if (const std::optional<size_t> at = place_for(first, second, link)) {
          merge(fusion, first, second, link, *at);
          break;
        }
      }
    }
  }

  Graph finish() {
    std::vector<size_t> order;
    for (size_t n = 0; n < nodes_.size(); ++n)
      if (nodes_[n].op) order.push_back(n);
    for (size_t n : order) append(builder_, std::move(nodes_[n]));
    return builder_.finish();
  }

 private:
  size_t num_values() const { return builder_.graph().values().size(); }
  static size_t index(ValueId value) { return static_cast<size_t>(value.index); }

  bool may_fuse(const Fusion& fusion, size_t first, size_t second, ValueId link) const {
    const Node &a = nodes_[first], &b = nodes_[second];
    if (!run_together(a, b) || !a.writes.empty() || !b.writes.empty()) return false;
    if (std::count(b.inputs.begin(), b.inputs.end(), link) != 1) return false;
    return fusion.keeps_link || (readers_[index(link)].size() == 1 && !gradients_.contains(link));
  }

  // Where in the order of nodes both can run: where the first one does, if all that the second reads is there by
  // then, or where the second one does, if nobody needs the first one before.
  std::optional<size_t> place_for(size_t first, size_t second, ValueId link) const {
    const size_t begin = place_[first], end = place_[second];
    for (size_t n = 0; n < nodes_.size(); ++n)
      if (begin < place_[n] && place_[n] < end && !nodes_[n].writes.empty() &&
          writes_what_is_read(n, first, second))
        return std::nullopt;
    const auto is_there = [&](ValueId input) {
      const NodeId producer = builder_.graph()[input].producer;
      return input == link || !producer.valid() || place_[static_cast<size_t>(producer.index)] < begin;
    };
    if (std::all_of(nodes_[second].inputs.begin(), nodes_[second].inputs.end(), is_there)) return begin;
    for (ValueId output : nodes_[first].outputs)
      for (size_t reader : readers_[index(output)])
        if (place_[reader] < end) return std::nullopt;
    return end;
  }

  bool writes_what_is_read(size_t writer, size_t first, size_t second) const {
    const auto reads = [&](const Node& node, StateId state) {
      return std::any_of(node.inputs.begin(), node.inputs.end(),
                         [&](ValueId input) { return builder_.graph()[input].state == state; });
    };
    return std::any_of(nodes_[writer].writes.begin(), nodes_[writer].writes.end(),
                       [&](StateId state) { return reads(nodes_[first], state) || reads(nodes_[second], state); });
  }

  void merge(const Fusion& fusion, size_t first, size_t second, ValueId link, size_t at) {
    Node &a = nodes_[first], &b = nodes_[second];
    Node node = a;
    node.op = fusion.make(*a.op, *b.op);
    for (ValueId input : b.inputs)
      if (input != link) node.inputs.push_back(input);
    if (!fusion.keeps_link) {
      std::erase(node.outputs, link);
      builder_.value(link).producer = {};
    }
    node.outputs.insert(node.outputs.end(), b.outputs.begin(), b.outputs.end());
    // Both indices name the node now; it stands where one of them stood.
    a.op = b.op = nullptr;
    nodes_[at] = std::move(node);
    place_[first] = place_[second] = at;
    fused_.insert(first);
    fused_.insert(second);
  }

  Builder builder_;
  std::vector<Node> nodes_;
  std::vector<std::vector<size_t>> readers_;  // by value
  std::vector<size_t> place_;                 // of each node in the new order
  std::set<ValueId> gradients_;               // that the verifier will look for
  std::set<size_t> fused_;
};

}  // namespace

Graph fuse(Graph graph, const std::vector<Fusion>& fusions) {
  Fuser fuser(std::move(graph));
  for (const Fusion& fusion : fusions) fuser.apply(fusion);
  return fuser.finish();
}

}  // namespace trine
