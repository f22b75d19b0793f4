#include "analysis/shared_links.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "ops/pipeline.h"
#include "trace/node_label.h"

namespace trine {
namespace {

// How much of a link's time a byte of each transfer takes, by the transfer's number.
using Load = std::vector<std::pair<int, double>>;

// Wherever one is full, the other is. Both are in order.
bool is_covered_by(const Load& load, const Load& other) {
  auto found = other.begin();
  for (const auto& [transfer, time] : load) {
    while (found != other.end() && found->first < transfer) ++found;
    if (found == other.end() || found->first != transfer || found->second < time) return false;
  }
  return true;
}

}  // namespace

SharedLinks::SharedLinks(const Plan& plan, SimulatedCosts& costs, double dilation)
    : dilation_(dilation), tp_meets_others_(plan.stages.size(), false), flows_(costs.links()) {
  std::map<const SharedTransfer*, Kind> transfers;
  for (size_t stage = 0; stage < plan.stages.size(); ++stage) {
    const Graph& graph = plan.stages[stage].graph;
    const int pp = static_cast<int>(stage);
    for (size_t n = 0; n < graph.nodes().size(); ++n) {
      const Node& node = graph.nodes()[n];
      const auto add_message = [&](const SharedTransfer& message, int other, EdgeKind carries) {
        const auto [known, is_new] = transfers.try_emplace(&message, Kind{Lane::kPp, pp, other, carries});
        known->second.several |= known->second.carries != carries;
      };
      if (const auto* const send = dynamic_cast<const Send*>(node.op.get())) {
        const int other = peer_of(node, plan.config.mesh.pp);
        const int64_t bytes = costs.node(pp, static_cast<int>(n)).message_bytes;
        add_message(costs.activation(pp, other, bytes), other, send->backward ? kGradient : kActivation);
      } else if (const auto* const state = dynamic_cast<const SendState*>(node.op.get())) {
        add_message(costs.collective(pp, static_cast<int>(n)), state->to_rank, kState);
      } else if (node.lane == Lane::kTp || node.lane == Lane::kDp) {  // those of pp are a few scalars
        transfers.try_emplace(&costs.collective(pp, static_cast<int>(n)), Kind{node.lane, pp});
      }
    }
  }
  find_met(transfers, costs.links());
}

void SharedLinks::find_met(const std::map<const SharedTransfer*, Kind>& transfers, const LinkModel& links) {
  std::vector<std::pair<const SharedTransfer*, Kind>> all(transfers.begin(), transfers.end());
  // Addresses differ from run to run, results must not.
  std::ranges::stable_sort(all, [](const auto& a, const auto& b) {
    return std::tuple(a.second, a.first->bytes, a.first->latency_s) <
           std::tuple(b.second, b.first->bytes, b.first->latency_s);
  });
  std::map<int, Load> loads;  // by resource
  for (size_t t = 0; t < all.size(); ++t)
    for (const LinkUse& use : all[t].first->uses)
      if (all[t].first->bytes > 0)
        loads[use.resource].emplace_back(static_cast<int>(t), use.weight / links.bytes_per_s(use.resource));

  std::map<Load, int> distinct;  // most links are like others of their host
  for (const auto& [resource, load] : loads) distinct.try_emplace(load, resource);
  std::vector<std::vector<int>> kept_of(all.size());  // by transfer
  const auto covers = [&](int resource, const Load& load) { return is_covered_by(load, loads.at(resource)); };
  for (const auto& [load, resource] : distinct) {
    const Kind& kind = all[static_cast<size_t>(load[0].first)].second;
    if (!kind.several && std::ranges::all_of(load, [&](const auto& use) {
          return all[static_cast<size_t>(use.first)].second == kind;
        }))
      continue;
    if (std::ranges::any_of(kept_of[static_cast<size_t>(load[0].first)],
                            [&](int other) { return covers(other, load); }))
      continue;
    for (const auto& [t, weight] : load) {
      std::vector<int>& others = kept_of[static_cast<size_t>(t)];
      std::erase_if(others, [&](int other) { return is_covered_by(loads.at(other), load); });
      others.push_back(resource);
    }
  }
  for (size_t t = 0; t < all.size(); ++t) {
    const auto& [transfer, kind] = all[t];
    if (kept_of[t].empty()) continue;
    Met& met = met_[transfer];
    met = {.latency_s = transfer->latency_s * dilation_,
           .bytes = transfer->bytes * dilation_,
           .alone_bytes_per_s = transfer->alone_bytes_per_s,
           .uses = {}};
    for (const LinkUse& use : transfer->uses)
      if (std::ranges::count(kept_of[t], use.resource) > 0) met.uses.push_back(use);
    if (kind.lane != Lane::kTp) continue;
    for (const int resource : kept_of[t])
      for (const auto& [other, weight] : loads.at(resource)) {
        const Kind& of_other = all[static_cast<size_t>(other)].second;
        if (of_other.pp != kind.pp || of_other.lane == Lane::kPp)
          tp_meets_others_[static_cast<size_t>(kind.pp)] = true;
      }
  }
}

void SharedLinks::begin(double at, const Met& transfer, Ended ended) {
  if (free_.empty()) free_.push_back(under_way_.size()), under_way_.emplace_back();
  const size_t place = free_.back();
  free_.pop_back();
  under_way_[place] = {&transfer, std::move(ended), 0};
  begins_.push({at, ++num_begins_, place});
}

bool SharedLinks::advance() {
  const std::optional<ActiveFlows::End> end = flows_.next_end();
  if (begins_.empty() && !end) return false;
  if (end && (begins_.empty() || end->at <= begins_.top().at)) {
    flows_.end_next();
    const auto own = std::ranges::find(under_way_, end->flow, &UnderWay::flow);
    const Ended ended = std::move(own->ended);
    const double latency_s = own->transfer->latency_s;
    *own = {};
    free_.push_back(static_cast<size_t>(own - under_way_.begin()));
    ended(end->at + latency_s);
    return true;
  }
  const Begin next = begins_.top();
  begins_.pop();
  UnderWay& own = under_way_[next.place];
  own.flow = flows_.begin(next.at, own.transfer->bytes, own.transfer->uses, own.transfer->alone_bytes_per_s);
  return true;
}

}  // namespace trine
