// A cluster as a file describes it: its devices, hosts and network in numbers, each with its source. Built-in ones
// are cluster/profiles/*.json; docs/clusters.md says what each number means.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "cluster/cpu_profile.h"

namespace trine {

enum class Certainty { kMeasured, kPublished, kAssumed, kGiven };  // kGiven: by the user, without more
std::string_view name(Certainty certainty);

// Where a number comes from.
struct Provenance {
  std::string source;
  Certainty certainty = Certainty::kGiven;
  bool operator==(const Provenance&) const = default;
};

// Rates are of one direction, dense, with f32 accumulation; GB = 1e9 bytes, GiB = 2^30.
struct DeviceProfile {
  std::string name;  // "RTX 4090"
  double bf16_tflops = 0, fp16_tflops = 0, f32_tflops = 0;
  double f16_accumulate_tflops = 0;         // of f16 products that add in f16; no use in training
  double memory_gib = 0, reserved_gib = 0;  // reserved: what no plan can use
  double memory_gb_per_s = 0;
  double multiprocessors = 0;
  double launch_us = 0, host_us = 0;  // of a kernel: on the device, and of the thread that launches it
  // Shares of the peaks that kernels of a family reach at their best.
  double product_share = 0, attention_share = 0, attention_grad_share = 0, memory_share = 0;
  double link_gb_per_s = 0;  // to the host
  // What other programs do otherwise than this one, for which all of these are 0 (docs/clusters.md).
  double unfused_attention = 0;   // 1: scores of all pairs go through memory; 2: and are made again backward
  double unfused_passes = 0;      // 1: sums, dropout, gradients of norms and the f32 loss are kernels of their own
  double serial_collectives = 0;  // 1: kernels wait for those of tensor parallelism; 2: for all, gradients last
  double host_waits = 0;          // 1: for the device, at each pipeline message and pass; 2: at each kernel
  double accumulate_bytes = 0;  // moved for each weight and microbatch, beside the product that makes its gradient
  double optimizer_bytes = 0;   // moved for each weight by an optimizer that takes no norm of gradients; 0: ours
  double scattered_messages = 0;  // 1: what a tp group holds as one is sent in parts, and gathered behind
  double power_w = 0;

  double peak_flops(DType dtype) const;  // per second, of products
  double plannable_bytes() const;
  bool operator==(const DeviceProfile&) const = default;
};

struct HostProfile {
  double devices = 0, devices_per_socket = 0;
  double devices_per_switch = 0, switch_gb_per_s = 0;  // 0: every device has its own root port
  double peer_access = 0;                              // 0: what devices exchange goes through the host's memory
  double memory_gb_per_s = 0;                          // of a socket, for devices
  double socket_gb_per_s = 0;                          // between two sockets
  double nvlink_gb_per_s = 0, nvlink_devices = 0;      // neighbours that reach each other by NVLink
  double power_w = 0, usd = 0;                         // without the devices
  bool operator==(const HostProfile&) const = default;
};

struct NetworkProfile {
  double nics = 0, nic_gb_per_s = 0, latency_us = 0, oversubscription = 1;
  bool operator==(const NetworkProfile&) const = default;
};

// Constants of collectives (cluster/topology.h).
struct CollectiveProfile {
  double low_us = 0, hop_us = 0, bulk_us = 0, bulk_hop_us = 0, low_share = 0, efficiency = 0, group_loss = 0,
         nvls_gb_per_s = 0, network_efficiency = 0;
  bool operator==(const CollectiveProfile&) const = default;
};

struct Profile {
  std::string name, about;
  DeviceProfile device;
  HostProfile host;
  NetworkProfile network;
  CollectiveProfile collective;
  CpuProfile cpu;                                          // of a machine whose cores compute
  double device_usd = 0, hour_usd = 0;                     // to buy; to rent, an hour
  double failure_device_hours = 0;                         // between two failures of a job on one device
  std::map<std::string, Provenance, std::less<>> sources;  // by path: "device.memory_gib"

  bool is_cpu() const { return cpu.cores > 0; }
  // Of all devices of a job, per second: a GPU for each rank, or the cores that its ranks' threads keep busy.
  double peak_flops(DType dtype, int ranks, int threads) const;
  bool operator==(const Profile&) const = default;
};

// A number of a profile: its path, as files and --set name it, and what it may be.
struct ProfileField {
  std::string_view path;  // "device.peak_tflops.bf16"
  std::string_view unit;  // "TFLOP/s"
  double min = 0, max = 0;
  double& (*of)(Profile&);
  bool optional = false;  // a file may leave it out: 0
};
std::span<const ProfileField> profile_fields();  // that all profiles have
std::span<const ProfileField> cpu_fields();      // those with a "cpu" too

std::vector<std::string> built_in_profiles();  // their names, sorted
// A built-in one by its name, or that of a file. ConfigError for a name that is neither, and for numbers that
// cannot be (all problems at once, each with what is wrong and what would be right); DataError for a file that
// cannot be read or is no JSON.
Profile load_profile(const std::string& name_or_file);
Profile parse_profile(std::string_view json, const std::string& where);

// "device.memory_gib=80" each, checked together: their order does not matter. ConfigError with all problems: no
// such number (the nearest is named), or one that cannot be.
void set_values(Profile& profile, std::span<const std::string> assignments);
// What --cluster and --set ask for.
Profile load_profile(const std::string& name_or_file, std::span<const std::string> assignments);

// Whole: parse_profile(dump) gives an equal one.
nlohmann::ordered_json to_json(const Profile& profile);

// The profiles as a table, a line each.
std::string profile_table(std::span<const Profile> profiles);

}  // namespace trine
