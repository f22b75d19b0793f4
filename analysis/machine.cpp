#include "analysis/machine.h"

#include <numeric>
#include <vector>

#include "analysis/link_time.h"
#include "cluster/topology.h"

namespace trine {

namespace {

constexpr double kGB = 1e9, kGiB = 1 << 30, kTera = 1e12;

}  // namespace

Machine::Machine(Profile profile) : profile_(std::move(profile)) {
  const DeviceProfile& device = profile_.device;
  const bool nvlink = profile_.host.nvlink_gb_per_s > 0;
  card = {.flops_per_s = device.bf16_tflops * kTera,
          .memory_bytes = device.memory_gib * kGiB,
          .bytes_per_s = device.memory_gb_per_s * kGB,
          .link_bytes_per_s = (nvlink ? profile_.host.nvlink_gb_per_s : device.link_gb_per_s) * kGB,
          .price_usd = profile_.device_usd,
          .power_w = device.power_w};
}

Machine Machine::with_network(double gbit) const {
  Profile profile = profile_;
  profile.network.nics = 1, profile.network.nic_gb_per_s = gbit / 8;
  return Machine(std::move(profile));
}

HostCost Machine::host_cost() const {
  return {.devices = profile_.host.devices,
          .device_usd = profile_.device_usd,
          .device_w = profile_.device.power_w,
          .chassis_usd = profile_.host.usd,
          .chassis_w = profile_.host.power_w};
}

double Machine::all_reduce_s(int n, double bytes) const {
  if (n <= 1) return 0;
  std::vector<int> ranks(static_cast<size_t>(n));
  std::iota(ranks.begin(), ranks.end(), 0);
  Topology topology(profile_);
  return topology.collective(CollectiveOp::kAllReduce, bytes, ranks).seconds_alone(topology.links());
}

double Machine::message_s(double bytes, int from, int to) const {
  Topology topology(profile_);
  return topology.message(bytes, from, to).seconds_alone(topology.links());
}

double Machine::bus_bytes_per_s() const {
  constexpr double kBytes = 1 << 27;
  return ring_all_reduce_bytes(kBytes, devices_per_host()) / all_reduce_s(devices_per_host(), kBytes);
}

}  // namespace trine
