// The planner's answer as JSON and as text: whatever number the text says stands in the JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "analysis/failures.h"
#include "analysis/planner/planner.h"

namespace trine {

// What makes days and money of a step.
struct RunWish {
  double tokens = 0;                           // 0: none are asked for, and days and USD are null
  std::optional<double> failure_device_hours;  // none: nothing ever fails
  std::string failure_source = {};             // of these
  std::optional<double> recovery_min, checkpoint_min;
  std::optional<double> usd_per_device_hour;  // none: bought, and power
};

// The command that trains with this layout: "mpirun -np 32 train_llama --model ... ".
std::string command_of(const PlanQuestion& question, const Layout& layout);

// {cluster, devices, model, global_batch, seq, answer: [sentences], searched, simulated, seconds, left_out: {why:
//  count}, plans: [{tp, pp, vpp, dp, micro_batch, schedule, recompute, zero, step_s, mfu, memory_bytes, tokens_per_s, days,
//  usd, command, exposed_share, slower}], pareto: [the same], sensitivity: [{choice, value, step_s, slower}], certainty,
//  run (null without tokens), nearest}. `top` plans at most; `slower`: than the best, as a share of its step. `run` is of
// the best: {tokens, days, low_days, high_days, usd, purchase_usd (of all hosts; null: rented), usd_per_device_hour (null:
// bought), kwh, failures: {...} or null}.
nlohmann::ordered_json planner_json(const PlanQuestion& question, const PlanAnswer& answer, const RunWish& wish,
                                    size_t top);
std::string planner_text(const nlohmann::ordered_json& json);
// Days and USD that each change saves of the run, where it has tokens and ends. A price by the hour is a rent: then what is
// bought has no price for a token.
void add_savings(const PlanQuestion& question, const RunWish& wish, const PlannedLayout& best,
                 std::vector<WhatIf>& list);
// Of several clusters, the best of each beside each other.
std::string comparison_text(const nlohmann::ordered_json& clusters);

}  // namespace trine
