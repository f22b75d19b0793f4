// What would make a predicted step shorter, and from which bandwidth on links stop mattering. Everything is simulated
// anew with one thing changed; nothing is scaled by hand.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "analysis/prices.h"
#include "analysis/simulator.h"
#include "base/mesh.h"
#include "cluster/profile.h"
#include "plan/plan.h"

namespace trine {

enum class ChangeKind {
  kSetting,  // of the run: costs nothing
  kCluster,  // can be had: bought, or a driver
  kBound,    // nobody sells it: shows what is left to gain there
};
std::string_view name(ChangeKind kind);  // "setting", "cluster", "bound"

inline constexpr double kLeastGain = 0.005;                 // of a step: what gains less is not listed
inline constexpr std::string_view kBestLayout = "_layout";  // ends the id of a change with the layout best after it

struct WhatIf {
  std::string id;      // "links_x2"
  std::string change;  // "links inside a host twice as fast"
  double step_s = 0, gain_s = 0;
  ChangeKind kind = ChangeKind::kBound;
  Price price = {};                              // for all devices of the run
  std::optional<double> token_cost_change = {};  // prices.h: -0.04 is a token that costs 4 % less
  // Of a whole run, where its length is known (analysis/planner/planner_report.h).
  std::optional<double> days_saved = {}, usd_saved = {};
};

// The same step with one thing changed; most gained first, and only what gains at least 0.5 % of `step_s`. Of GPU
// clusters: links, network, P2P, NVLink as in an A100 host, arithmetic, memory, host; NICs and other devices that can
// be bought. Of CPUs: what they measure as slow: products, memory, exchanges. Of the plan: less recomputation, where
// it fits the card or one of 80 GiB; another schedule; gradients reduced in bf16; twice the microbatches (then step_s is
// the time of as many tokens).
// REQUIRES: the plan is one for `profile`, and takes `step_s` there.
std::vector<WhatIf> what_if(const Plan& plan, const Profile& profile, double step_s);

// Changes of hardware after which another layout may be best: cards of 80 GiB, NVLink as in an A100 host, and devices
// that can be bought instead. Those that a profile has already are left out.
struct NewHardware {
  std::string id, change;
  Profile profile;
  ChangeKind kind = ChangeKind::kBound;
  Price price = {};  // for so many devices
};
std::vector<NewHardware> new_hardware(const Profile& profile, int devices);

// The step as its links get faster.
struct LinkCurve {
  std::string links;        // "inside a host", "between hosts"
  std::string unit;         // what gb_per_s is a number of: "a card and direction", "a host and direction"
  double now_gb_per_s = 0;  // of the profile
  struct Point {
    double gb_per_s = 0, step_s = 0;
    std::array<double, kAxes.size()> exposed_s{};  // communication that nothing hides, by Axis
  };
  std::vector<Point> points;                            // by rising bandwidth; the profile's is one
  std::vector<std::pair<std::string, double>> markers;  // links of known clusters: "RTX 4090", GB/s
  std::optional<double> enough_gb_per_s;                // from there on, more gains less than 2 % of the step
};

// Where an axis' exposed communication falls below 1 % of the step.
struct LinkThreshold {
  Axis axis = Axis::kTp;
  std::string links;               // as of the curve
  std::optional<double> gb_per_s;  // none: not even the fastest of the curve does it
  double most_gb_per_s = 0;        // of the curve
};

// Of links inside hosts, and of the network where ranks are on several hosts; from half to 64 times the profile's
// bandwidth. None of CPUs and of one rank. `now`: the plan's simulation on the profile as it is.
std::vector<LinkCurve> link_curves(const Plan& plan, const Profile& profile, const Simulation& now);
// Of axes that expose 2 % of the step or more, over the links that shorten them more.
std::vector<LinkThreshold> thresholds(const std::vector<LinkCurve>& curves);

struct Outlook {
  std::vector<WhatIf> what_if;
  std::vector<LinkCurve> curves;
  std::vector<LinkThreshold> thresholds;
};
Outlook outlook(const Plan& plan, const Profile& profile, const Simulation& now);

}  // namespace trine
