// What a layout takes, roughly, in a microsecond: to order thousands of layouts and to leave out those that are far
// off. What a layer, the embedding and head, and their memory take at a tp, a microbatch and a recomputation comes
// from simulating a model of a few layers; the schedule, messages and dp are closed forms on top.
#pragma once

#include <map>
#include <tuple>
#include <vector>

#include "analysis/planner/layout.h"
#include "cluster/topology.h"
#include "parallel/stages.h"
#include "plan/plan.h"

namespace trine {

struct LayoutEstimate {
  double step_s = 0;
  double bytes = 0;  // of the largest rank's plan
};

// Plans of a few layers on one tp group. They know nothing of a cluster: searches for the same training on other
// devices of the same kind share them.
class SmallModels {
 public:
  struct Small {
    Plan plan;
    double bytes = 0;
  };
  const Small& of(const PlanQuestion& question, const Layout& layout, int64_t layers, int64_t microbatches);

 private:
  // By tp, microbatch, recomputation, layers and microbatches.
  std::map<std::tuple<int, int64_t, int, int64_t, int64_t, int64_t>, Small> known_;
};

class Estimator {
 public:
  Estimator(const PlanQuestion& question, SmallModels& models) : question_(question), models_(models) {}
  LayoutEstimate of(const Layout& layout);

 private:
  // Of one tp rank.
  struct Costs {
    double layer_s = 0, ends_s = 0;  // forward and backward of a microbatch; ends: embedding and head
    double layer_optimizer_s = 0;    // of a step, nothing sharded over dp
    double layer_state_bytes = 0, ends_state_bytes = 0;  // weights, gradients and all of the optimizer's
    double layer_kept_bytes = 0, ends_kept_bytes = 0;    // of a microbatch in flight
    double other_bytes = 0;                              // whatever does not grow with layers or microbatches
  };
  struct Measured {
    double compute_s = 0, optimizer_s = 0, bytes = 0;
  };
  struct DpCosts {
    double reduce_s = 0, gather_s = 0;
  };
  const Costs& costs(const Layout& layout);
  Measured small_model(const Layout& layout, int64_t layers) const;
  const std::vector<Stage>& stages(int count);
  double message_s(const Layout& layout);
  DpCosts dp_costs(const Layout& layout);

  const PlanQuestion& question_;
  SmallModels& models_;
  std::map<std::tuple<int, int64_t, int, int64_t>, Costs> costs_;  // by tp, microbatch, recomputation
  std::map<int, std::vector<Stage>> stages_;
  std::map<std::pair<int, double>, double> messages_;  // by ranks of a pipeline rank, and bytes
  std::map<std::pair<int, int>, DpCosts> dp_costs_;    // by tp and dp
};

}  // namespace trine
