// The same plan on a cluster that is not here: walks the commands of each pipeline rank (plan/step_program.h) with
// the costs of a profile, and gives the trace that a run would write.
//
// A rank is a thread that launches, a compute lane, and lanes of communication, as on a GPU whose messages go from
// device to device: kernels and collectives are enqueued, and a lane begins its next work when the one before has
// ended, what it waits for has ended, and the host has launched it. A message begins when both ends are ready.
// Ranks that differ only in their tp or dp coordinate do the same at the same time, so one stands for all of a
// pipeline rank, and all groups of an axis that share a host move their bytes at once and
// share its links. Deterministic.
//
// Not modelled: noise, other jobs, validation and checkpoints, the time between two steps.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/profile.h"
#include "plan/plan.h"
#include "trace/trace.h"

namespace trine {

// Links that CPU ranks are given (--emulate-links): those of a cluster of GPUs, so many times slower.
struct EmulatedCluster {
  const Profile* profile = nullptr;
  double dilation = 1;
};

struct SimulationOptions {
  std::map<int, double> slow = {};  // by rank: how many times longer its kernels take
  // kAction: what a rank does between two messages is simulated by node the first time, and from the same state not
  // again. The step and where it goes are the same; the trace has an event for each kind of time there, without nodes.
  Detail detail = Detail::kNode;
  // Of CPUs: what a collective or message takes is the longer of its exchange and of these links' time.
  std::optional<EmulatedCluster> links = std::nullopt;
  bool step_only = false;  // of GPUs `step_s` alone, and nothing of where it goes: sooner; of CPUs all the same
};

struct Simulation {
  Trace trace;  // one step; of each pipeline rank the one with dp 0, tp 0
  double step_s = 0;
  StepBreakdown mean;  // over all ranks
  // Of CPUs: ops whose costs are guesses because the profile has none of them, if they matter; and whether ranks have fewer cores
  // than threads. Then the step is what the cores need at best, and where it goes is not known.
  std::vector<std::string> not_measured = {};
  bool oversubscribed = false;
};

// REQUIRES: the plan is one for the profile's kind of device (plan.config.device), as its kernels are.
Simulation simulate(const Plan& plan, const Profile& profile, const SimulationOptions& options = {});

// How far the step of a run may be from a prediction: factors of the predicted seconds. Of devices on which others
// published steps with fused attention, the range of measured / predicted over these (bench/predict; 19 rows on
// A100, H100 and RTX 4090); of all others, and of changed profiles, a wider guess.
struct PredictionCertainty {
  std::string kind;  // "published", "unseen"; of CPUs "calibrated", "oversubscribed" or "unseen"
  double low = 1, high = 1;
};
PredictionCertainty certainty_of(const Profile& profile);
// Of CPUs: the goal for own runs after measure_cluster, which bench/predict/own_runs.py compares.
PredictionCertainty certainty_of(const Profile& profile, const Simulation& simulation);

// The model's FLOPs per second as a share of the peak of all devices.
double mfu(const Config& config, const Profile& profile, double step_s);

}  // namespace trine
