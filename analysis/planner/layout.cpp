#include "analysis/planner/layout.h"

#include <algorithm>
#include <fmt/format.h>

#include "plan/config/flag_values.h"
#include "plan/config/layouts.h"

namespace trine {
namespace {

constexpr int kMostChunks = 8;
constexpr int64_t kMostSequences = 16;

constexpr const char *kNoSplit = "heads, layers or batch do not divide", *kAcrossHosts = "tp would cross hosts";

std::vector<int> divisors(int n) {
  std::vector<int> list;
  for (int d = 1; d <= n; ++d)
    if (n % d == 0) list.push_back(d);
  return list;
}

template <typename T>
std::vector<T> choices(const std::optional<T>& fixed, std::vector<T> all) {
  return fixed ? std::vector<T>{*fixed} : std::move(all);
}

struct Order {
  ScheduleKind schedule;
  int vpp;
};

std::vector<Order> orders(const FixedChoices& fixed, int pp, int64_t layers) {
  std::vector<Order> list;
  const auto add = [&](ScheduleKind kind, int vpp) {
    if (fixed.schedule.value_or(kind) == kind && fixed.vpp.value_or(vpp) == vpp) list.push_back({kind, vpp});
  };
  if (fixed.schedule == ScheduleKind::kGpipe) add(ScheduleKind::kGpipe, 1);
  add(ScheduleKind::k1F1B, 1);
  if (pp == 1) return list;
  add(ScheduleKind::kZeroBubble, 1);
  const int most = fixed.vpp ? *fixed.vpp : kMostChunks;
  for (int vpp = 2; vpp <= most && int64_t{pp} * vpp <= layers; ++vpp) add(ScheduleKind::kInterleaved, vpp);
  return list;
}

}  // namespace

Config config_of(const PlanQuestion& question, const Layout& layout) {
  Config config = question.base;
  config.planned_ranks = question.devices;
  config.tp = layout.tp, config.pp = layout.pp, config.vpp = layout.vpp;
  config.mesh = {.pp = layout.pp, .dp = layout.dp, .tp = layout.tp};
  config.micro_batch = layout.micro_batch;
  config.schedule = layout.schedule, config.recompute = layout.recompute, config.zero = layout.zero;
  if (!question.fixed.sequence_parallel) config.sequence_parallel = layout.tp > 1;
  if (question.profile.is_cpu() && !question.fixed.threads) {
    const int hosts = std::max(1, static_cast<int>(question.profile.cpu.hosts));
    const int ranks = (question.devices + hosts - 1) / hosts;
    config.threads = std::max(1, static_cast<int>(question.profile.cpu.cores) / ranks);
  }
  return config;
}

Layout chosen_layout(const Config& config) {
  const Mesh& mesh = config.mesh;
  return {.tp = mesh.tp,
          .pp = mesh.pp,
          .dp = mesh.dp,
          .vpp = config.vpp,
          .micro_batch = config.micro_batch,
          .schedule = mesh.pp > 1 ? config.schedule : ScheduleKind::k1F1B,
          .recompute = config.recompute,
          .zero = mesh.dp > 1 ? config.zero : 0};
}

std::string to_string(const Layout& layout) {
  std::string text = fmt::format("tp {} pp {} dp {}", layout.tp, layout.pp, layout.dp);
  if (layout.pp > 1) text += fmt::format(", {}", name(layout.schedule));
  if (layout.vpp > 1) text += fmt::format(" vpp {}", layout.vpp);
  text += fmt::format(", micro-batch {}, recompute {}", layout.micro_batch,
                      ValueText<Recompute>::print(layout.recompute));
  if (layout.dp > 1) text += fmt::format(", zero {}", layout.zero);
  return text;
}

std::string flags_of(const Layout& layout) {
  std::string text = fmt::format("--tp {} --pp {}", layout.tp, layout.pp);
  if (layout.pp > 1) text += fmt::format(" --schedule {}", name(layout.schedule));
  if (layout.vpp > 1) text += fmt::format(" --vpp {}", layout.vpp);
  text += fmt::format(" --micro-batch {} --recompute {}", layout.micro_batch,
                      ValueText<Recompute>::print(layout.recompute));
  if (layout.dp > 1) text += fmt::format(" --zero {}", layout.zero);
  return text;
}

LayoutSpace layout_space(const PlanQuestion& question) {
  const FixedChoices& fixed = question.fixed;
  const int devices = question.devices;
  const int64_t batch = question.base.global_batch, layers = question.base.model.layers;
  const int host = static_cast<int>(question.profile.is_cpu() ? devices : question.profile.host.devices);
  std::vector<int64_t> micro_batches;
  for (int64_t size = 1; size <= std::min(kMostSequences, batch); size *= 2) micro_batches.push_back(size);

  LayoutSpace space;
  for (const int tp : choices(fixed.tp, divisors(devices))) {
    for (const int pp : choices(fixed.pp, devices % tp == 0 ? divisors(devices / tp) : std::vector<int>{1})) {
      const bool whole = devices % (int64_t{tp} * pp) == 0;
      const int dp = whole ? devices / (tp * pp) : 1;
      if (fixed.dp && *fixed.dp != dp) continue;
      for (const int64_t micro_batch : choices(fixed.micro_batch, micro_batches))
        for (const Order& order : orders(fixed, pp, layers))
          for (const Recompute& recompute :
               choices(fixed.recompute,
                       {{Recompute::Kind::kNone}, {Recompute::Kind::kSelective}, {Recompute::Kind::kFull}}))
            for (const int zero : choices(fixed.zero, dp > 1 ? std::vector{1, 0} : std::vector{0})) {
              ++space.searched;
              const Layout layout{.tp = tp,
                                  .pp = pp,
                                  .dp = dp,
                                  .vpp = order.vpp,
                                  .micro_batch = micro_batch,
                                  .schedule = order.schedule,
                                  .recompute = recompute,
                                  .zero = zero};
              if (!whole || !layout_is_valid(config_of(question, layout), devices))
                ++space.left_out[kNoSplit];
              else if (tp > host && !fixed.tp)
                ++space.left_out[kAcrossHosts];
              else
                space.layouts.push_back(layout);
            }
    }
  }
  return space;
}

}  // namespace trine
