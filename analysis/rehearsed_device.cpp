#include "analysis/rehearsed_device.h"

#include <algorithm>
#include <fmt/format.h>

#include "analysis/failures.h"
#include "analysis/prediction.h"
#include "analysis/simulated_costs.h"
#include "base/error.h"

namespace trine {

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

ModelledDevice rehearsed_device(const Plan& plan, const Profile& profile, int rank) {
  const DeviceProfile& device = profile.device;
  const int pp = plan.config.mesh.coordinate(rank).pp;
  const auto costs = std::make_shared<SimulatedCosts>(plan, profile);
  const std::map<int, double> slow = slow_ranks_of(plan.config);
  const double slowness = slow.contains(rank) ? slow.at(rank) : 1;
  const double ranks_a_host =
      std::min<double>(profile.host.devices, static_cast<double>(plan.config.mesh.num_ranks()));
  return {.name = device.name,
          .memory_bytes = static_cast<int64_t>(device.plannable_bytes()),
          .launch_s = device.host_us * 1e-6,
          .host_copy_bytes_per_s = device.link_gb_per_s * 1e9,
          .saved_bytes_per_s = CheckpointTimes().disk_bytes_per_s / ranks_a_host,
          .kernel_s = [=](int node) { return costs->node(pp, node).seconds * slowness; },
          .collective_s = [=](int node) { return costs->collective_s(pp, node); },
          .message_s =
              [=](int peer, bool sends, int64_t bytes) {
                return sends ? costs->message_s(pp, peer, bytes) : costs->message_s(peer, pp, bytes);
              },
          .noise = {}};
}

}  // namespace trine
