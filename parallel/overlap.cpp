#include <algorithm>
#include <tuple>

#include "base/error.h"
#include "graph/builder.h"
#include "graph/passes/rewrite.h"
#include "ops/linear.h"
#include "parallel/lanes.h"

namespace trine {
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

  // A collective is under way: one product runs meanwhile, if what it needs is there;
  // the others gather theirs behind.
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

}  // namespace trine
