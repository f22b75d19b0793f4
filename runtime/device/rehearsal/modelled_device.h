// What a rehearsal is told about the device of a rank and its links: numbers and functions, whoever computes them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/device_group.h"
#include "kernels/kernel.h"

namespace trine {

// What it takes to move something between ranks.
struct ModelledTransfer {
  double seconds = 0;  // on idle links, all together
};

struct ModelledDevice {
  std::string name;                  // "rtx4090"
  int64_t memory_bytes = 0;          // that a plan may fill
  double launch_s = 0;               // of the host, to enqueue a kernel
  double host_copy_bytes_per_s = 0;  // between host and device, a direction
  // How long a kernel of the compute lane runs, and how long a collective of the request's group moves bytes once
  // all its ranks are ready.
  std::function<double(const KernelRequest&)> kernel_s;
  std::function<ModelledTransfer(const KernelRequest&)> collective;
  // A message of so many bytes from this rank's stage to pipeline rank `peer`, or from there;
  // the same at both ends.
  std::function<ModelledTransfer(int peer, int64_t bytes)> message;
};

}  // namespace trine
