#include "analysis/rehearsed_device.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <functional>
#include <random>

#include "analysis/failures.h"
#include "analysis/link_emulation.h"
#include "analysis/prediction.h"
#include "analysis/shared_links.h"
#include "analysis/simulated_costs.h"
#include "base/error.h"

namespace trine {
namespace {

constexpr double kShortestKernelUs = 100;

// A factor of mean 1 for each kernel (log-normal), the same in every run of the same seed.
std::function<double()> noise_of(const Config& config, int rank) {
  if (config.jitter == 0) return {};
  const double sigma = config.jitter;
  std::seed_seq seed{config.seed, static_cast<int64_t>(rank)};
  return [=, random = std::mt19937_64(seed), normal = std::normal_distribution<double>()]() mutable {
    return std::exp(sigma * normal(random) - sigma * sigma / 2);
  };
}

}  // namespace

Profile rehearsed_cluster(const Config& config) {
  Profile profile = load_profile(config.cluster, config.cluster_changes);
  if (profile.is_cpu())
    throw ConfigError(fmt::format(
        "[flags] {} is a cluster of CPUs, and --device rehearsal stands for GPUs that are not here. Name "
        "one of GPUs (plan_llama clusters lists them), or leave out --device and --cluster.",
        profile.name));
  slow_ranks_of(config);
  return profile;
}

void check_speed_up(const Plan& plan, const Profile& profile) {
  if (plan.config.speed_up <= 1) return;
  SimulatedCosts costs(plan, profile);
  for (size_t pp = 0; pp < plan.stages.size(); ++pp) {
    double seconds = 0, kernels = 0;
    step_program(plan.stages[pp], StepMode::kTrain, true).for_each([&](const Command& command) {
      if (command.kind != CommandKind::kRun) return;
      seconds += costs.node(static_cast<int>(pp), command.node).seconds, ++kernels;
    });
    const double mean_us = seconds / std::max(1.0, kernels) * 1e6;
    if (mean_us / plan.config.speed_up < kShortestKernelUs)
      throw ConfigError(fmt::format(
          "[flags] --speed-up {:g} makes a kernel of pipeline rank {} {:.0f} us long, in the mean; below {:.0f} us "
          "these cores may not keep up. At most --speed-up {:.3g}.",
          plan.config.speed_up, pp, mean_us / plan.config.speed_up, kShortestKernelUs,
          std::max(1.0, mean_us / kShortestKernelUs)));
  }
}

ModelledDevice rehearsed_device(const Plan& plan, const Profile& profile, int rank) {
  const DeviceProfile& device = profile.device;
  const int pp = plan.config.mesh.coordinate(rank).pp;
  const auto costs = std::make_shared<SimulatedCosts>(plan, profile);
  const std::map<int, double> slow = slow_ranks_of(plan.config);
  const double speed_up = plan.config.speed_up;
  const double slowness = (slow.contains(rank) ? slow.at(rank) : 1) / speed_up;
  const auto shared = std::make_shared<const SharedLinks>(plan, *costs, 1);
  const EmulatedLinks links = emulated_links(plan, profile, 1 / speed_up, rank);
  const auto alone = [=](const SharedTransfer& transfer) {
    return EmulatedTransfer{.latency_s = transfer.seconds_alone() / speed_up, .bytes = 0, .uses = {}};
  };
  const double ranks_a_host =
      std::min<double>(profile.host.devices, static_cast<double>(plan.config.mesh.num_ranks()));
  return {.name = device.name,
          .memory_bytes = static_cast<int64_t>(device.plannable_bytes()),
          .launch_s = device.host_us * 1e-6 / speed_up,
          .host_copy_bytes_per_s = device.link_gb_per_s * 1e9 * speed_up,
          .saved_bytes_per_s = CheckpointTimes().disk_bytes_per_s / ranks_a_host * speed_up,
          .kernel_s = [=](int node) { return costs->node(pp, node).seconds * slowness; },
          .links = links.links,
          .collective =
              [=](int node) {
                const SharedTransfer& all = costs->collective(pp, node);
                return shared->find(all) == nullptr ? alone(all) : links.collective(node);
              },
          .message =
              [=](int peer, bool sends, int64_t bytes) {
                const SharedTransfer& all =
                    sends ? costs->message(pp, peer, bytes) : costs->message(peer, pp, bytes);
                return shared->find(all) == nullptr ? alone(all) : links.message(peer, sends, bytes);
              },
          .noise = noise_of(plan.config, rank)};
}

}  // namespace trine
