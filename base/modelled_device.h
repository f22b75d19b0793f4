// A rank's device as a rehearsal takes it (runtime/device/rehearsal): how long things take, whoever computes it. The
// runtime knows no clusters' costs, and what computes them (analysis/rehearsed_device.h) knows no runtime.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace trine {

struct ModelledDevice {
  std::string name;                  // "RTX 4090"
  int64_t memory_bytes = 0;          // that a plan may fill
  double launch_s = 0;               // of the host, to enqueue a kernel
  double host_copy_bytes_per_s = 0;  // between host and device, a direction
  double saved_bytes_per_s = 0;      // to disk, of a rank while all save; 0: saving takes no time

  // Of the rank's stage, by the node's number: how long a kernel of the compute lane runs, and how long a collective,
  // or a state that is sent, is under way once all its ranks are ready. Called before the first step.
  std::function<double(int node)> kernel_s;
  std::function<double(int node)> collective_s;
  // A message of so many bytes from this rank to pipeline rank `peer`, or from there: the same at both ends. Called
  // by the thread that trains.
  std::function<double(int peer, bool sends, int64_t bytes)> message_s;
  // By how much the next kernel takes longer; empty: nothing varies. Called by the thread that trains.
  std::function<double()> noise;
};

}  // namespace trine
