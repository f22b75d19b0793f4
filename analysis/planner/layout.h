// A layout: what the planner may choose of a configuration, and the configuration that a choice makes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/profile.h"
#include "plan/config/config.h"

namespace trine {

struct Layout {
  int tp = 1, pp = 1, dp = 1, vpp = 1;
  int64_t micro_batch = 1;
  ScheduleKind schedule = ScheduleKind::k1F1B;
  Recompute recompute;
  int zero = 0;
  bool operator==(const Layout&) const = default;
};

// Those that are given; the planner chooses the others.
struct FixedChoices {
  std::optional<int> tp, pp, dp, vpp, zero;
  std::optional<int64_t> micro_batch;
  std::optional<ScheduleKind> schedule;
  std::optional<Recompute> recompute;
  bool threads = false, sequence_parallel = false;  // of the base configuration, which else follow from the layout
};

// What is planned for: a model and its batch, on so many devices of a cluster.
struct PlanQuestion {
  Config base;  // everything that is no choice of a layout; on one rank
  int devices = 1;
  Profile profile;
  FixedChoices fixed;
  std::string flags = {};  // that were given beside these, for the command of a plan: " --dtype fp16"
};

// REQUIRES: layout.tp * pp * dp = question.devices.
Config config_of(const PlanQuestion& question, const Layout& layout);
Layout chosen_layout(const Config& config);

// "tp 2 pp 16 dp 64, interleaved vpp 5, micro-batch 1, recompute full, zero 1"
std::string to_string(const Layout& layout);
// Its flags: "--tp 2 --pp 16 --schedule interleaved --vpp 5 --micro-batch 1 --recompute full --zero 1".
std::string flags_of(const Layout& layout);

struct LayoutSpace {
  std::vector<Layout> layouts;              // valid ones
  int64_t searched = 0;                     // all that were looked at
  std::map<std::string, int64_t> left_out;  // how many, by why
};
// All layouts that the model, the batch and the hosts allow. tp stays within a host unless it is fixed; gpipe, groups
// of recomputation and microbatches of more than 16 sequences are taken only if fixed.
LayoutSpace layout_space(const PlanQuestion& question);

}  // namespace trine
