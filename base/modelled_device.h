// A rank's device as a rehearsal takes it (runtime/device/rehearsal): how long things take, whoever computes it. The
// runtime knows no clusters' costs, and what computes them (analysis/rehearsed_device.h) knows no runtime.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/emulated_links.h"
#include "base/link_model.h"

namespace trine {

struct ModelledDevice {
  std::string name;                  // "RTX 4090"
  int64_t memory_bytes = 0;          // that a plan may fill
  double launch_s = 0;               // of the host, to enqueue a kernel
  double host_copy_bytes_per_s = 0;  // between host and device, a direction
  double saved_bytes_per_s = 0;      // to disk, of a rank while all save; 0: saving takes no time

  // Of the rank's stage, by the node's number: how long a kernel of the compute lane runs. Called before the first step.
  std::function<double(int node)> kernel_s;
  // What transfers share, and all ranks know by the same numbers.
  LinkModel links;
  // What a collective, or a state that is sent, puts on the links once all its ranks are ready. One that meets no other
  // transfer uses none, and takes its latency. Called before the first step.
  std::function<EmulatedTransfer(int node)> collective;
  // A message of so many bytes from this rank to pipeline rank `peer`, or from there: the same at both ends. Called
  // by the thread that trains.
  std::function<EmulatedTransfer(int peer, bool sends, int64_t bytes)> message;
  // By how much the next kernel takes longer; empty: nothing varies. Called by the thread that trains.
  std::function<double()> noise;
};

}  // namespace trine
