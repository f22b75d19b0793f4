#include "analysis/explain.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <functional>
#include <utility>

#include "analysis/prediction.h"
#include "base/error.h"

namespace trine {
namespace {

constexpr double kWorthSaying = 0.005;  // of a step
constexpr double kLargeCard_gib = 80;

constexpr std::array<std::pair<std::string_view, std::string_view>, 13> kParts = {{
    {"peak", "arithmetic at the devices' peak"},
    {"kernels", "kernels below that peak"},
    {"recompute", "recomputation"},
    {"tp", "tp communication, exposed"},
    {"pp", "pp communication, exposed"},
    {"bubble", "pipeline bubble"},
    {"dp", "dp communication, exposed"},
    {"wait", "waiting for a late rank"},
    {"optimizer", "optimizer"},
    {"data", "data"},
    {"host", "host"},
    {"checkpoint", "checkpoint"},
    {"idle", "idle: nothing was launched"},
}};

struct ProfileChange {
  const char *id, *words;
  std::function<bool(const Profile&, const Config&)> applies;
  std::function<void(Profile&)> make;
};

void scale_links(Profile& profile, double by) {
  profile.device.link_gb_per_s *= by;
  for (double* rate : {&profile.host.switch_gb_per_s, &profile.host.memory_gb_per_s, &profile.host.socket_gb_per_s,
                       &profile.host.nvlink_gb_per_s})
    *rate *= by;
}

void scale_network(Profile& profile, double by) { profile.network.nic_gb_per_s *= by; }

std::vector<ProfileChange> profile_changes() {
  const auto several = [](const Profile&, const Config& c) { return c.mesh.num_ranks() > 1; };
  const auto several_hosts = [](const Profile& p, const Config& c) { return c.mesh.num_ranks() > p.host.devices; };
  const auto always = [](const Profile&, const Config&) { return true; };
  return {
      {"links_x2", "links inside a host twice as fast", several, [](Profile& p) { scale_links(p, 2); }},
      {"network_x2", "network between hosts twice as fast", several_hosts, [](Profile& p) { scale_network(p, 2); }},
      {"all_links_x2", "links and network twice as fast", several_hosts,
       [](Profile& p) { scale_links(p, 2), scale_network(p, 2); }},
      {"links_free", "links and network without limit: no layout or card gains more from them", several,
       [](Profile& p) { scale_links(p, 1000), scale_network(p, 1000), p.host.peer_access = 1; }},
      {"p2p", "devices read each other's memory (P2P)",
       [](const Profile& p, const Config& c) {
         return c.mesh.num_ranks() > 1 && p.host.peer_access == 0 && p.host.nvlink_devices < 2;
       },
       [](Profile& p) { p.host.peer_access = 1; }},
      {"links_a100", "NVLink as in an A100 SXM host",
       [](const Profile& p, const Config& c) {
         return c.mesh.num_ranks() > 1 && p.host.nvlink_devices < p.host.devices;
       },
       [](Profile& p) {
         const Profile a100 = load_profile("a100-80-sxm");
         p.host.nvlink_gb_per_s = a100.host.nvlink_gb_per_s, p.host.nvlink_devices = p.host.devices;
         p.host.peer_access = 1;
         const double network = p.collective.network_efficiency;
         p.collective = a100.collective;
         p.collective.network_efficiency = network;
       }},
      {"f16_accumulation", "products that add in f16 (no use in training: gradients lose their small parts)",
       [](const Profile& p, const Config&) { return p.device.f16_accumulate_tflops > p.device.bf16_tflops; },
       [](Profile& p) { p.device.bf16_tflops = p.device.fp16_tflops = p.device.f16_accumulate_tflops; }},
      {"peak_x2", "arithmetic twice as fast", always,
       [](Profile& p) {
         for (double* peak : {&p.device.bf16_tflops, &p.device.fp16_tflops, &p.device.f32_tflops}) *peak *= 2;
       }},
      {"memory_x2", "device memory twice as fast", always, [](Profile& p) { p.device.memory_gb_per_s *= 2; }},
      {"host_x2", "a host that launches twice as fast", always, [](Profile& p) { p.device.host_us /= 2; }},
  };
}

double bytes_of(const Plan& plan) {
  int64_t most = 0;
  for (const StagePlan& stage : plan.stages) most = std::max(most, stage.memory.total_bytes());
  return static_cast<double>(most);
}

// Less recomputation, from none on: the first that fits into the card, and into one of 80 GB where that is less.
void add_recompute(const Plan& plan, const Profile& profile, const SimulationOptions& options,
                   std::vector<WhatIf>& list) {
  if (plan.config.recompute.kind == Recompute::Kind::kNone) return;
  Profile large = profile;
  large.device.memory_gib = std::max(large.device.memory_gib, kLargeCard_gib);
  bool on_large = false;
  for (const Recompute::Kind kind : {Recompute::Kind::kNone, Recompute::Kind::kSelective}) {
    if (kind == plan.config.recompute.kind) return;
    Config config = plan.config;
    config.recompute = {.kind = kind};
    const Plan other = build_plan(config);
    const bool fits = bytes_of(other) <= profile.device.plannable_bytes();
    if (!fits && (on_large || bytes_of(other) > large.device.plannable_bytes())) continue;
    on_large |= !fits;
    const std::string how = kind == Recompute::Kind::kNone ? "without recomputation" : "--recompute selective";
    list.push_back({.id = fmt::format("recompute_{}{}", kind == Recompute::Kind::kNone ? "none" : "selective",
                                      fits ? "" : "_80gib"),
                    .change = fits ? how + ", which fits" : "80 GiB of memory, and then " + how,
                    .step_s = simulate(other, profile, options).step_s});
    if (fits) return;
  }
}

}  // namespace

std::vector<ExplainedPart> explain(const StepBreakdown& mean, double peak_s) {
  const double compute_s = mean[EventKind::kCompute], at_peak_s = std::min(peak_s, compute_s);
  const std::array<double, kParts.size()> seconds = {at_peak_s,
                                                     compute_s - at_peak_s,
                                                     mean[EventKind::kRecompute],
                                                     mean[EventKind::kCommTp],
                                                     mean[EventKind::kCommPp],
                                                     mean[EventKind::kBubble],
                                                     mean[EventKind::kCommDp],
                                                     mean[EventKind::kWait],
                                                     mean[EventKind::kOptimizer],
                                                     mean[EventKind::kData],
                                                     mean[EventKind::kHost],
                                                     mean[EventKind::kCheckpoint],
                                                     mean[EventKind::kIdle]};
  std::vector<ExplainedPart> parts;
  for (size_t i = 0; i < kParts.size(); ++i)
    if (seconds[i] > 0) parts.push_back({std::string(kParts[i].first), seconds[i]});
  return parts;
}

std::string_view part_text(std::string_view part) {
  const auto found = std::ranges::find(kParts, part, &std::pair<std::string_view, std::string_view>::first);
  return found == kParts.end() ? part : found->second;
}

std::vector<WhatIf> what_if(const Plan& plan, const Profile& profile, double step_s) {
  std::vector<WhatIf> list;
  if (profile.is_cpu()) return list;
  const SimulationOptions options{slow_ranks_of(plan.config)};
  for (const ProfileChange& change : profile_changes()) {
    if (!change.applies(profile, plan.config)) continue;
    Profile changed = profile;
    change.make(changed);
    list.push_back({.id = change.id, .change = change.words, .step_s = simulate(plan, changed, options).step_s});
  }
  add_recompute(plan, profile, options, list);
  for (WhatIf& one : list) one.gain_s = step_s - one.step_s;
  std::erase_if(list, [&](const WhatIf& one) { return one.gain_s < kWorthSaying * step_s; });
  std::ranges::stable_sort(list, std::greater(), &WhatIf::gain_s);
  return list;
}

}  // namespace trine
