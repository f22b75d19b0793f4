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
  for (const LinkUse& use : uses)
    if (use.weight > 0) rate = std::min(rate, bytes_per_s(use.resource) / use.weight);
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

ActiveFlows::Id ActiveFlows::begin(double at, double bytes, std::span<const LinkUse> uses,
                                   double most_bytes_per_s) {
  const auto num_resources = static_cast<size_t>(links_->num_resources());
  if (users_.size() < num_resources) users_.resize(num_resources), room_of_.resize(num_resources, -1);
  if (free_.empty()) free_.push_back(flows_.size()), flows_.emplace_back();
  const size_t own = free_.back();
  free_.pop_back();
  flows_[own] = {.id = ++last_,
                 .since = at,
                 .left = std::max(0.0, bytes),
                 .most = most_bytes_per_s,
                 .uses = uses,
                 .met = true};
  active_.push_back(own);
  met_.assign(1, own);
  meet(uses);
  for (const LinkUse& use : uses) users_[static_cast<size_t>(use.resource)].push_back(own);
  share(at);
  return last_;
}

// Its place among the active ones.
size_t ActiveFlows::first_to_end() const {
  size_t first = 0;
  for (size_t i = 1; i < active_.size(); ++i) {
    const Flow &flow = flows_[active_[i]], &best = flows_[active_[first]];
    if (flow.end < best.end || (flow.end == best.end && flow.id < best.id)) first = i;
  }
  return first;
}

std::optional<ActiveFlows::End> ActiveFlows::next_end() const {
  if (active_.empty()) return std::nullopt;
  const Flow& first = flows_[active_[first_to_end()]];
  return End{first.end, first.id};
}

ActiveFlows::End ActiveFlows::end_next() {
  TRINE_CHECK(!active_.empty(), "no flow is active");
  const size_t place = first_to_end(), own = active_[place];
  const Flow& flow = flows_[own];
  active_[place] = active_.back();
  active_.pop_back();
  free_.push_back(own);
  for (const LinkUse& use : flow.uses) std::erase(users_[static_cast<size_t>(use.resource)], own);
  met_.clear();
  meet(flow.uses);
  share(flow.end);
  return {flow.end, flow.id};
}

// Adds to met_ all that share a link with these uses, or with one that does.
void ActiveFlows::meet(std::span<const LinkUse> uses) {
  const auto meet_those_of = [&](std::span<const LinkUse> own) {
    for (const LinkUse& use : own)
      for (const size_t f : users_[static_cast<size_t>(use.resource)])
        if (!flows_[f].met) flows_[f].met = true, met_.push_back(f);
  };
  const size_t begin = met_.size();
  meet_those_of(uses);
  for (size_t i = begin; i < met_.size(); ++i) meet_those_of(flows_[met_[i]].uses);
}

// Of those that meet: as fair_rates(), with their own limits.
void ActiveFlows::find_rates() {
  rates_.assign(met_.size(), -1);
  if (met_.size() == 1) {
    rates_[0] = std::min(flows_[met_[0]].most, links_->rate_alone(flows_[met_[0]].uses));
    return;
  }
  const auto room = [&](const LinkUse& use) -> Room& {
    return rooms_[static_cast<size_t>(room_of_[static_cast<size_t>(use.resource)])];
  };
  rooms_.clear();
  for (const size_t f : met_)
    for (const LinkUse& use : flows_[f].uses) {
      int& index = room_of_[static_cast<size_t>(use.resource)];
      if (index < 0) {
        index = static_cast<int>(rooms_.size());
        rooms_.push_back({use.resource, links_->bytes_per_s(use.resource)});
      }
      room(use).growing += use.weight;
    }
  for (size_t num_growing = met_.size(); num_growing > 0;) {
    double level = kInfinity;  // at which the next resource is full, or a flow as fast as it can be
    for (const Room& r : rooms_)
      if (r.growing > 0) level = std::min(level, std::max(0.0, r.left) / r.growing);
    for (size_t i = 0; i < met_.size(); ++i)
      if (rates_[i] < 0) level = std::min(level, flows_[met_[i]].most);
    for (Room& r : rooms_) r.full = r.growing > 0 && std::max(0.0, r.left) <= level * r.growing * (1 + 1e-12);
    const auto is_full = [&](const LinkUse& use) { return use.weight > 0 && room(use).full; };
    fixed_.clear();
    for (size_t i = 0; i < met_.size(); ++i) {
      const Flow& flow = flows_[met_[i]];
      if (rates_[i] < 0 && (flow.most <= level || level == kInfinity || std::ranges::any_of(flow.uses, is_full)))
        fixed_.push_back(i);
    }
    TRINE_CHECK(!fixed_.empty(), "shares of {} flows: none is full", num_growing);
    for (const size_t i : fixed_) {
      rates_[i] = level, --num_growing;
      for (const LinkUse& use : flows_[met_[i]].uses)
        room(use).left -= use.weight * level, room(use).growing -= use.weight;
    }
    for (Room& r : rooms_)  // what rounding left of weights
      if (r.full) r.growing = 0;
  }
  for (const Room& r : rooms_) room_of_[static_cast<size_t>(r.resource)] = -1;
}

// What goes on as before keeps its end to the bit.
void ActiveFlows::share(double at) {
  find_rates();
  for (size_t i = 0; i < met_.size(); ++i) {
    Flow& flow = flows_[met_[i]];
    flow.met = false;
    if (rates_[i] == flow.rate) continue;
    if (flow.rate > 0)
      flow.left = flow.rate == kInfinity ? 0 : std::max(0.0, flow.left - flow.rate * (at - flow.since));
    flow.since = std::max(flow.since, at), flow.rate = rates_[i];
    flow.end = flow.since + (flow.left > 0 ? flow.left / flow.rate : 0);
  }
}

}  // namespace trine
