#include "base/link_model.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace trine {
namespace {
constexpr double kInfinity = std::numeric_limits<double>::infinity();
}

int LinkModel::add(std::string name, double bytes_per_s) {
  TRINE_CHECK(bytes_per_s > 0, "{} moves {} bytes a second", name, bytes_per_s);
  resources_.push_back({std::move(name), bytes_per_s});
  return num_resources() - 1;
}

double LinkModel::rate_alone(std::span<const LinkUse> uses) const {
  double rate = kInfinity;
  std::vector<double> weight(resources_.size(), 0.0);
  for (const LinkUse& use : uses) weight[static_cast<size_t>(use.resource)] += use.weight;
  for (size_t r = 0; r < weight.size(); ++r)
    if (weight[r] > 0) rate = std::min(rate, resources_[r].bytes_per_s / weight[r]);
  return rate;
}

std::vector<double> fair_rates(const LinkModel& links, std::span<const std::span<const LinkUse>> flows) {
  const auto num_resources = static_cast<size_t>(links.num_resources());
  // Of each resource: what is left for flows that still grow, and the sum of their weights.
  std::vector<double> room(num_resources), growing(num_resources, 0.0);
  for (size_t r = 0; r < num_resources; ++r) room[r] = links.bytes_per_s(static_cast<int>(r));
  for (const auto& uses : flows)
    for (const LinkUse& use : uses) growing[static_cast<size_t>(use.resource)] += use.weight;
  std::vector<double> rates(flows.size(), kInfinity);
  std::vector<bool> fixed(flows.size(), false);
  while (true) {
    double level = kInfinity;  // at which the next resource is full
    for (size_t r = 0; r < num_resources; ++r)
      if (growing[r] > 0) level = std::min(level, std::max(0.0, room[r]) / growing[r]);
    if (level == kInfinity) return rates;
    std::vector<bool> full(num_resources);
    for (size_t r = 0; r < num_resources; ++r)
      full[r] = growing[r] > 0 && std::max(0.0, room[r]) <= level * growing[r] * (1 + 1e-12);
    for (size_t f = 0; f < flows.size(); ++f) {
      const auto is_full = [&](const LinkUse& use) {
        return use.weight > 0 && full[static_cast<size_t>(use.resource)];
      };
      if (fixed[f] || std::none_of(flows[f].begin(), flows[f].end(), is_full)) continue;
      fixed[f] = true;
      rates[f] = level;
      for (const LinkUse& use : flows[f]) {
        room[static_cast<size_t>(use.resource)] -= use.weight * level;
        growing[static_cast<size_t>(use.resource)] -= use.weight;
      }
    }
    for (size_t r = 0; r < num_resources; ++r)  // what rounding left of weights
      if (full[r]) growing[r] = 0;
  }
}

ActiveFlows::Id ActiveFlows::begin(double at, double bytes, std::vector<LinkUse> uses) {
  advance(at);
  flows_.push_back({++last_, std::max(0.0, bytes), 0, std::move(uses)});
  share();
  return last_;
}

std::optional<ActiveFlows::End> ActiveFlows::next_end() const {
  std::optional<End> first;
  for (const Flow& flow : flows_) {
    const double at = now_ + (flow.left > 0 ? flow.left / flow.rate : 0);
    if (!first || at < first->at) first = End{at, flow.id};
  }
  return first;
}

ActiveFlows::End ActiveFlows::end_next() {
  const std::optional<End> end = next_end();
  TRINE_CHECK(end, "no flow is active");
  advance(end->at);
  std::erase_if(flows_, [&](const Flow& flow) { return flow.id == end->flow; });
  share();
  return *end;
}

void ActiveFlows::advance(double to) {
  for (Flow& flow : flows_)
    flow.left = flow.rate == kInfinity ? 0 : std::max(0.0, flow.left - flow.rate * std::max(0.0, to - now_));
  now_ = std::max(now_, to);
}

void ActiveFlows::share() {
  std::vector<std::span<const LinkUse>> uses;
  for (const Flow& flow : flows_) uses.emplace_back(flow.uses);
  const std::vector<double> rates = fair_rates(*links_, uses);
  for (size_t f = 0; f < flows_.size(); ++f) flows_[f].rate = rates[f];
}

}  // namespace trine
