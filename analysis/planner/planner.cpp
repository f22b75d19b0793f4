#include "analysis/planner/planner.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <optional>
#include <set>
#include <utility>

#include "analysis/planner/estimate.h"
#include "base/clock.h"
#include "plan/config/flag_values.h"
#include "plan/plan.h"

namespace trine {
namespace {

// Of a search beside a prediction: estimates are a tenth off, so that the best is among the first.
constexpr SearchEffort kOfAnOutlook{.most_simulated = 12, .other_choices = false, .step_only = true};
// What an estimate of memory may be too high by.
constexpr double kSurelyTooMuch = 1.1;
constexpr size_t kNearestTried = 6;
// Of what is so many times too large one is enough: the estimate's order is right there, and its plan takes long.
constexpr double kFarTooMuch = 4;
constexpr int kTriesOfAChoice = 2;

struct Candidate {
  Layout layout;
  LayoutEstimate estimate;
};

int ranks_of_a_memory(const PlanQuestion& question) { return question.profile.is_cpu() ? question.devices : 1; }

// A layout whose largest rank needs so many bytes; its times, if they fit.
PlannedLayout planned(const PlanQuestion& question, const Candidate& candidate, const Plan& plan, bool step_only) {
  PlannedLayout of{.layout = candidate.layout, .estimate_s = candidate.estimate.step_s};
  of.memory_bytes = largest_plan_bytes(plan);
  if (!fits(plan, question.profile)) return of;
  const Simulation simulation =
      simulate(plan, question.profile, {.detail = Detail::kAction, .step_only = step_only});
  of.step_s = simulation.step_s, of.mean = simulation.mean;
  of.tokens_per_s = static_cast<double>(plan.config.tokens_per_step()) / of.step_s;
  of.mfu = mfu(plan.config, question.profile, of.step_s);
  return of;
}

using Choice = std::pair<std::string, std::string>;  // "tp", "4"

std::vector<Choice> choices_of(const Layout& l) {
  return {{"tp", fmt::format("{}", l.tp)},
          {"pp", fmt::format("{}", l.pp)},
          {"micro_batch", fmt::format("{}", l.micro_batch)},
          {"schedule", std::string(name(l.schedule))},
          {"recompute", ValueText<Recompute>::print(l.recompute)},
          {"zero", fmt::format("{}", l.zero)}};
}

// Of the best for each other value of each choice. REQUIRES: fastest first.
std::vector<Sensitivity> sensitivity_of(const std::vector<PlannedLayout>& plans) {
  std::vector<Sensitivity> list;
  if (plans.empty()) return list;
  const std::vector<Choice> best = choices_of(plans[0].layout);
  for (size_t i = 0; i < best.size(); ++i) {
    std::vector<std::string> seen = {best[i].second};
    for (const PlannedLayout& plan : plans) {
      const auto [choice, value] = choices_of(plan.layout)[i];
      if (std::ranges::find(seen, value) != seen.end()) continue;
      seen.push_back(value);
      list.push_back({choice, value, plan.step_s});
    }
  }
  return list;
}

std::vector<PlannedLayout> pareto_of(const std::vector<PlannedLayout>& plans) {
  std::vector<PlannedLayout> front;
  for (const PlannedLayout& plan : plans)
    if (front.empty() || plan.memory_bytes < front.back().memory_bytes) front.push_back(plan);
  return front;
}

// What a change is known to gain with the layout as it is, or with less recomputation alone. A search among a dozen may
// miss that.
double gain_without_a_search(const std::vector<WhatIf>& list, const std::string& id, double step_s) {
  double gain_s = kLeastGain * step_s;
  for (const WhatIf& one : list)
    if (one.id == id || (id == "memory_80gib" && one.id.ends_with("_80gib"))) gain_s = std::max(gain_s, one.gain_s);
  return gain_s;
}

// The search as it goes on.
class Search {
 public:
  Search(const PlanQuestion& question, const SearchEffort& effort, int64_t end_ns)
      : question_(question), effort_(effort), end_ns_(end_ns) {}

  // By rising estimate.
  void simulate_best(std::vector<Candidate> candidates) {
    const double slack = effort_.slack;
    std::ranges::stable_sort(candidates, {}, [](const Candidate& c) { return c.estimate.step_s; });
    size_t next = 0;
    for (; next < candidates.size(); ++next) {
      const Candidate& candidate = candidates[next];
      if (slack > 0 && best_s_ > 0 && candidate.estimate.step_s > slack * best_s_) break;
      if (slack > 0 && answer.plans.size() >= effort_.most_simulated) break;
      if (now_ns() > end_ns_) return;
      try_one(candidate);
    }
    if (answer.plans.empty())
      for (const Candidate& candidate : std::exchange(too_large_, {})) look_again(candidate);
    if (!answer.plans.empty() && effort_.other_choices)
      simulate_others({candidates.begin() + static_cast<ptrdiff_t>(next), candidates.end()});
  }

  // Of layouts that cannot fit, those that need least.
  void find_nearest(std::vector<Candidate> too_large) {
    std::ranges::stable_sort(too_large, {}, [](const Candidate& c) { return c.estimate.bytes; });
    for (size_t i = 0; i < std::min(kNearestTried, too_large.size()) && now_ns() <= end_ns_; ++i) {
      if (i > 0 && too_large[i].estimate.bytes > kFarTooMuch * question_.profile.device.plannable_bytes()) break;
      ++found_too_large;
      look_again(too_large[i]);
    }
  }

  PlanAnswer answer;
  int64_t found_too_large = 0;  // planned, and then

 private:
  // Each value of each choice that no simulated layout has, so that it is known how far off it is.
  void simulate_others(const std::vector<Candidate>& rest) {
    std::set<Choice> seen;
    for (const PlannedLayout& plan : answer.plans)
      for (const Choice& choice : choices_of(plan.layout)) seen.insert(choice);
    std::map<Choice, int> tries;
    for (const Candidate& candidate : rest) {
      if (now_ns() > end_ns_) return;
      bool wanted = false;
      for (const Choice& choice : choices_of(candidate.layout))
        wanted |= !seen.contains(choice) && tries[choice]++ < kTriesOfAChoice;
      if (wanted && try_one(candidate))
        for (const Choice& choice : choices_of(candidate.layout)) seen.insert(choice);
    }
  }

  bool try_one(const Candidate& candidate) {
    const Config config = config_of(question_, candidate.layout);
    const std::optional<Plan> plan =
        build_plan_to_compare(config, [&](int64_t bytes) { return fits(bytes, config, question_.profile); });
    if (plan) {
      add(planned(question_, candidate, *plan, effort_.step_only));
    } else {
      ++found_too_large;
      too_large_.push_back(candidate);
    }
    return plan.has_value();
  }

  // At one that was found too large, and is planned only as far as it may be the nearest.
  void look_again(const Candidate& candidate) {
    const Config config = config_of(question_, candidate.layout);
    const std::optional<Plan> plan = build_plan_to_compare(config, [&](int64_t bytes) {
      return answer.nearest.memory_bytes == 0 || bytes < answer.nearest.memory_bytes ||
             fits(bytes, config, question_.profile);
    });
    if (!plan) return;
    PlannedLayout layout = planned(question_, candidate, *plan, effort_.step_only);
    if (layout.step_s > 0) {
      --found_too_large;
      add(std::move(layout));
    } else {
      answer.nearest = layout;
    }
  }

  void add(PlannedLayout layout) {
    best_s_ = best_s_ > 0 ? std::min(best_s_, layout.step_s) : layout.step_s;
    answer.plans.push_back(std::move(layout));
  }

  const PlanQuestion& question_;
  const SearchEffort& effort_;
  const int64_t end_ns_;
  double best_s_ = 0;
  std::vector<Candidate> too_large_;  // by the search's order
};

}  // namespace

PlanAnswer plan(const PlanQuestion& question, const SearchEffort& effort, std::shared_ptr<SmallModels> known) {
  const int64_t begin_ns = now_ns(), end_ns = begin_ns + static_cast<int64_t>(effort.within_s * 1e9);
  const LayoutSpace space = layout_space(question);
  if (!known) known = std::make_shared<SmallModels>();
  Estimator estimator(question, *known);
  std::vector<Candidate> candidates, too_large;
  const int ranks = ranks_of_a_memory(question);
  for (const Layout& layout : space.layouts) {
    if (now_ns() > end_ns) break;
    const Candidate candidate{layout, estimator.of(layout)};
    const bool may_fit =
        candidate.estimate.bytes * ranks < kSurelyTooMuch * question.profile.device.plannable_bytes();
    (may_fit ? candidates : too_large).push_back(candidate);
  }
  Search search(question, effort, end_ns);
  search.simulate_best(candidates);
  if (search.answer.plans.empty()) search.find_nearest(too_large);

  PlanAnswer answer = std::move(search.answer);
  answer.small_models = std::move(known);
  answer.searched = space.searched;
  answer.simulated = static_cast<int64_t>(answer.plans.size());
  answer.left_out = space.left_out;
  const auto valid = static_cast<int64_t>(space.layouts.size());
  const int64_t memory =
      answer.plans.empty() ? valid : static_cast<int64_t>(too_large.size()) + search.found_too_large;
  answer.left_out["need more memory"] = memory;
  answer.left_out["estimated to be slower"] = valid - memory - answer.simulated;
  std::erase_if(answer.left_out, [](const auto& entry) { return entry.second <= 0; });
  std::ranges::stable_sort(answer.plans, [](const PlannedLayout& a, const PlannedLayout& b) {
    return std::pair(a.step_s, a.memory_bytes) < std::pair(b.step_s, b.memory_bytes);
  });
  answer.pareto = pareto_of(answer.plans);
  answer.sensitivity = sensitivity_of(answer.plans);
  answer.seconds = seconds_since(begin_ns);
  return answer;
}

std::optional<EnoughDevices> enough_devices(const PlanQuestion& question, const PlanAnswer& answer) {
  constexpr SearchEffort kOne{.within_s = 10, .most_simulated = 1, .other_choices = false};
  constexpr double kMayDo = 0.8;  // of what memory alone would ask for
  const double wanted = static_cast<double>(answer.nearest.memory_bytes) /
                        question.profile.device.plannable_bytes() * question.devices;
  for (const double times : {1.5, 2., 3., 4., 6., 8., 12., 16., 24., 32., 48., 64.}) {
    const double devices = times * question.devices;
    if (devices != std::floor(devices) || devices < kMayDo * wanted) continue;
    PlanQuestion larger = question;
    larger.devices = static_cast<int>(devices);
    if (const PlanAnswer found = plan(larger, kOne); !found.plans.empty())
      return EnoughDevices{larger.devices, found.plans[0].layout};
  }
  return std::nullopt;
}

void add_best_layouts_after_changes(const PlanQuestion& question, const Layout& layout, double step_s,
                                    std::shared_ptr<SmallModels> known, std::vector<WhatIf>& list) {
  for (const NewHardware& hardware : new_hardware(question.profile, question.devices)) {
    PlanQuestion changed = question;
    changed.profile = hardware.profile;
    const PlanAnswer after = plan(changed, kOfAnOutlook, known);
    if (after.plans.empty() || after.plans[0].layout == layout) continue;
    const PlannedLayout& best = after.plans[0];
    if (step_s - best.step_s <= gain_without_a_search(list, hardware.id, step_s)) continue;
    list.push_back(
        {.id = hardware.id + std::string(kBestLayout),
         .change = fmt::format("{}, and the best layout there: {}", hardware.change, to_string(best.layout)),
         .step_s = best.step_s,
         .gain_s = step_s - best.step_s,
         .kind = hardware.kind,
         .price = hardware.price,
         .token_cost_change = token_cost_change(question.profile, hardware.profile, question.devices,
                                                hardware.price, step_s, best.step_s)});
  }
  std::ranges::stable_sort(list, std::greater(), &WhatIf::gain_s);
}

bool searches_layouts(const Plan& plan, const Prediction& prediction) {
  return plan.config.what_if.value_or(WhatIfs::kAll) == WhatIfs::kAll &&
         plan.config.mesh.num_ranks() <= kMostSearchedDevices && prediction.fits &&
         plan.config.slow_ranks.empty() && !prediction.simulation.oversubscribed &&
         prediction.simulation.not_measured.empty();
}

Outlook outlook_with_layouts(const Plan& plan_of_run, const Prediction& prediction) {
  const Profile& profile = prediction.profile;
  const double step_s = prediction.simulation.step_s;
  if (plan_of_run.config.what_if == WhatIfs::kOff) return {};
  Outlook found = outlook(plan_of_run, profile, prediction.simulation);
  if (!searches_layouts(plan_of_run, prediction)) return found;
  const Config& config = plan_of_run.config;
  const PlanQuestion question{
      .base = config, .devices = config.mesh.num_ranks(), .profile = profile, .fixed = {.threads = true}};
  const PlanAnswer answer = plan(question, kOfAnOutlook);
  if (!answer.plans.empty() && step_s - answer.plans[0].step_s >= kLeastGain * step_s) {
    const PlannedLayout& best = answer.plans[0];
    found.what_if.push_back(
        {.id = "layout",
         .change = "another layout: " + flags_of(best.layout),
         .step_s = best.step_s,
         .gain_s = step_s - best.step_s,
         .kind = ChangeKind::kSetting,
         .price = free_of_charge("a setting"),
         .token_cost_change = token_cost_change(profile, profile, question.devices, free_of_charge("a setting"),
                                                step_s, best.step_s)});
  }
  add_best_layouts_after_changes(question, chosen_layout(config), step_s, answer.small_models, found.what_if);
  return found;
}

}  // namespace trine
