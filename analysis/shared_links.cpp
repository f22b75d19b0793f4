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

// Wherever one is full, the other is.
bool is_covered_by(const Load& load, const Load& other) {
  return std::ranges::all_of(load, [&](const auto& own) {
    const auto found = std::ranges::find(other, own.first, &std::pair<int, double>::first);
    return found != other.end() && own.second <= found->second;
  });
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
      if (node.op->is_transfer()) {
        const int other = peer_of(node, plan.config.mesh.pp);
        const int64_t bytes = costs.node(pp, static_cast<int>(n)).message_bytes;
        if (dynamic_cast<const Send*>(node.op.get()) != nullptr)
          transfers[&costs.activation(pp, other, bytes)] = {Lane::kPp, pp, other};
      } else if (node.lane != Lane::kCompute) {
        const SharedTransfer& transfer = costs.collective(pp, static_cast<int>(n));
        transfers.try_emplace(&transfer, Kind{node.lane, node.lane == Lane::kPp ? -1 : pp, -1});
      }
    }
  }
  find_shared(transfers, costs.links());
}

void SharedLinks::find_shared(const std::map<const SharedTransfer*, Kind>& transfers, const LinkModel& links) {
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

  std::vector<std::vector<int>> kept_of(all.size());  // by transfer
  const auto covers = [&](int resource, const Load& load) { return is_covered_by(load, loads.at(resource)); };
  for (const auto& [resource, load] : loads) {
    const Kind& kind = all[static_cast<size_t>(load[0].first)].second;
    if (std::ranges::all_of(load, [&](const auto& use) { return all[static_cast<size_t>(use.first)].second == kind; }))
      continue;
    if (std::ranges::any_of(kept_of[static_cast<size_t>(load[0].first)], [&](int other) { return covers(other, load); }))
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
    std::vector<LinkUse>& uses = shared_[transfer];
    for (const LinkUse& use : transfer->uses)
      if (std::ranges::count(kept_of[t], use.resource) > 0) uses.push_back(use);
    if (kind.lane != Lane::kTp) continue;
    for (const int resource : kept_of[t])
      for (const auto& [other, weight] : loads.at(resource)) {
        const Kind& met = all[static_cast<size_t>(other)].second;
        if (met.pp != kind.pp || met.lane == Lane::kPp) tp_meets_others_[static_cast<size_t>(kind.pp)] = true;
      }
  }
}

void SharedLinks::begin(double at, const SharedTransfer& transfer, std::function<void(double end)> ended) {
  begins_.push({at, ++num_begins_, &transfer, std::move(ended)});
}

bool SharedLinks::advance() {
  const std::optional<ActiveFlows::End> end = flows_.next_end();
  if (begins_.empty() && !end) return false;
  if (end && (begins_.empty() || end->at <= begins_.top().at)) {
    flows_.end_next();
    const auto found = under_way_.find(end->flow);
    const UnderWay ended = std::move(found->second);
    under_way_.erase(found);
    ended.ended(end->at + ended.latency_s);
    return true;
  }
  const Begin next = begins_.top();
  begins_.pop();
  const SharedTransfer& transfer = *next.transfer;
  const auto flow = flows_.begin(next.at, transfer.bytes * dilation_, shared_.at(&transfer), transfer.alone_bytes_per_s);
  under_way_[flow] = {transfer.latency_s * dilation_, std::move(next.ended)};
  return true;
}

}  // namespace trine
