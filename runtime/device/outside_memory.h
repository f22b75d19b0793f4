// What stands on a device besides the plan's arena: estimated before anything is allocated,
// then measured as it comes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "plan/config/config.h"
#include "runtime/device/backend.h"

namespace trine {

// How many communicators make_nccl_world() makes on a rank.
struct DeviceCommunicators {
  int groups = 0;  // one for each axis along which there are others
  int edges = 0;   // ends of directed pipeline edges
};
DeviceCommunicators communicators_of(const Config& config, Coordinate at);

// CUDA's context and the kernels of a process, cuBLASLt and cuDNN, and NCCL's buffers: 640 MiB, and for each
// communicator 128 MiB, 96 of an edge, which has fewer channels. Figures of NVIDIA's libraries as others report
// them; no GPU has confirmed them here (docs/gpu-results.md).
int64_t outside_plan_estimate(DeviceCommunicators communicators);

// Measures by how much the device's free memory shrinks from one note to the next. What other processes take
// meanwhile is in it.
class OutsideMemory {
 public:
  // `what` stands on the device since the last note, besides `planned` bytes of the plan's.
  void note(const Backend& backend, const std::string& what, int64_t planned_bytes = 0);
  // A part of what the next note finds that is known by name.
  void part(const std::string& what, int64_t bytes);
  int64_t total_bytes() const;
  // "1.1 GiB outside the plan: context 430.0 MiB, communicators 256.0 MiB, ..."; empty where the device works in
  // the host's memory.
  std::string text() const;

 private:
  std::vector<std::pair<std::string, int64_t>> parts_;
  int64_t in_use_ = 0;
};

}  // namespace trine
