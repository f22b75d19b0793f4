// Which layout trains a model fastest on a cluster: thousands are ordered by an estimate, the best hundred or two are
// planned to the byte and simulated, command by command.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "analysis/planner/layout.h"
#include "analysis/prediction.h"

namespace trine {

struct PlannedLayout {
  Layout layout;
  double estimate_s = 0;  // what put it in its place
  double step_s = 0, tokens_per_s = 0, mfu = 0;
  int64_t memory_bytes = 0;  // of the plan of the largest rank, exact
  StepBreakdown mean;
};

// What the best becomes if one choice is another.
struct Sensitivity {
  std::string choice, value;  // "tp", "4"
  double step_s = 0;          // of the best layout with it that was simulated
};

class SmallModels;

struct PlanAnswer {
  std::vector<PlannedLayout> plans;   // that fit, fastest first; ties in the order of less memory
  std::vector<PlannedLayout> pareto;  // of these: less memory for more time, fastest first
  std::vector<Sensitivity> sensitivity;
  PlannedLayout nearest;  // where none fits: the one that needs least memory
  int64_t searched = 0, simulated = 0;
  std::map<std::string, int64_t> left_out;  // how many, by why
  double seconds = 0;
  std::shared_ptr<SmallModels> small_models;  // that were built, for another search (see estimate.h)
};

// Adds what new hardware gives with the layout that is best on it, where that gains more than `layout`, which takes
// `step_s` now, does there; `list`, which has that, stays in its order: most gained first. `known`: as for plan().
void add_best_layouts_after_changes(const PlanQuestion& question, const Layout& layout, double step_s,
                                    std::shared_ptr<SmallModels> known, std::vector<WhatIf>& list);

// What would shorten the step of a plan that was predicted (what_if.h). Of up to 64 devices also another layout
// ("layout"), and new hardware with the layout best on it; of more that takes too long to come with each prediction. Not
// of a plan that does not fit, or where a rank is slowed, threads have no core, or ops were not measured; and as the
// configuration says (Config::what_if).
inline constexpr int kMostSearchedDevices = 64;
Outlook outlook_with_layouts(const Plan& plan, const Prediction& prediction);
bool searches_layouts(const Plan& plan, const Prediction& prediction);

struct SearchEffort {
  double slack = 1.1;     // layouts whose estimate is so many times the best step found are left out; 0: none is
  double within_s = 1e9;  // what is not looked at by then is left out as if it were slower
  size_t most_simulated = 60;  // that fit, by rising estimate
  bool other_choices = true;   // then those that say how far off another choice is (PlanAnswer::sensitivity)
  bool step_only = false;      // of a layout its step, and nothing of where it goes (PlannedLayout::mean): sooner
};
// `known`: of a search for the same training on as many devices of this kind.
PlanAnswer plan(const PlanQuestion& question, const SearchEffort& effort = {},
                std::shared_ptr<SmallModels> known = nullptr);

// More devices on which a layout fits: the fewest of one and a half, two, three, four, six, ... times as many. None: not
// even with 64 times as many. REQUIRES: `answer` has no plans, but a nearest one.
struct EnoughDevices {
  int devices = 0;
  Layout layout;
};
std::optional<EnoughDevices> enough_devices(const PlanQuestion& question, const PlanAnswer& answer);

}  // namespace trine
