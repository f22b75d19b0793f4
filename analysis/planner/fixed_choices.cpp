#include "analysis/planner/fixed_choices.h"

namespace trine {
namespace {

constexpr const char* kWhere = "--fix";

void check_counts(const FixedChoices& fixed, Problems& problems) {
  const auto at_least_one = [&](const char* name, const auto& value) {
    if (value && *value < 1) problems.add(kWhere, "{}={}: it needs 1 or more.", name, *value);
  };
  at_least_one("tp", fixed.tp), at_least_one("pp", fixed.pp), at_least_one("dp", fixed.dp);
  at_least_one("vpp", fixed.vpp), at_least_one("micro-batch", fixed.micro_batch);
  if (fixed.zero && (*fixed.zero < 0 || *fixed.zero > 1))
    problems.add(kWhere, "zero={}: it needs 0 or 1.", *fixed.zero);
}

void check_order(const FixedChoices& fixed, Problems& problems) {
  const int vpp = fixed.vpp.value_or(0);
  if (fixed.schedule == ScheduleKind::kInterleaved && vpp == 1)
    problems.add(kWhere, "schedule=interleaved needs vpp of 2 or more, and vpp=1 is given. Leave out one of them.");
  if (fixed.schedule && fixed.schedule != ScheduleKind::kInterleaved && vpp > 1)
    problems.add(kWhere, "vpp={} needs schedule=interleaved, and schedule={} is given. Leave out one of them.", vpp,
                 name(*fixed.schedule));
  if (fixed.pp != 1) return;
  if (vpp > 1) problems.add(kWhere, "vpp={} needs a pipeline, and pp=1 is given. Leave out one of them.", vpp);
  if (fixed.schedule == ScheduleKind::kInterleaved || fixed.schedule == ScheduleKind::kZeroBubble)
    problems.add(kWhere, "schedule={} needs a pipeline, and pp=1 is given. Leave out one of them.",
                 name(*fixed.schedule));
}

void check_sizes(const PlanQuestion& question, Problems& problems) {
  const FixedChoices& fixed = question.fixed;
  const int64_t layers = question.base.model.layers, batch = question.base.global_batch;
  const int64_t pieces = int64_t{fixed.pp.value_or(1)} * fixed.vpp.value_or(1);
  if (pieces > layers) problems.add(kWhere, "pp x vpp is {}, more than the model's {} layers.", pieces, layers);
  const int64_t ranks = int64_t{fixed.tp.value_or(1)} * fixed.pp.value_or(1) * fixed.dp.value_or(1);
  const bool all = fixed.tp && fixed.pp && fixed.dp;
  if (all ? ranks != question.devices : question.devices % ranks != 0)
    problems.add(kWhere, "tp {} x pp {} x dp {} is {}, which {} {} devices.", fixed.tp.value_or(1),
                 fixed.pp.value_or(1), fixed.dp.value_or(1), ranks, all ? "is not the" : "does not divide",
                 question.devices);
  const int64_t together = fixed.micro_batch.value_or(1) * fixed.dp.value_or(1);
  if (batch % together != 0)
    problems.add(kWhere, "micro-batch {} x dp {} is {}, which does not divide the global batch of {}.",
                 fixed.micro_batch.value_or(1), fixed.dp.value_or(1), together, batch);
  if (fixed.tp && question.base.model.heads % *fixed.tp != 0)
    problems.add(kWhere, "tp={} does not divide the model's {} heads.", *fixed.tp, question.base.model.heads);
}

}  // namespace

void check_fixed_choices(const PlanQuestion& question, Problems& problems) {
  check_counts(question.fixed, problems);
  if (!problems.empty()) return;
  check_order(question.fixed, problems);
  check_sizes(question, problems);
}

}  // namespace trine
