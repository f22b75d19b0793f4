// A device that is not there: the CPU's kernels, each queue a thread that works off what the host has enqueued,
// late at times. It shows whether the executor orders the work of an asynchronous device,
// because nothing else does.
#pragma once

#include <atomic>
#include <memory>

#include "comm/device_group.h"
#include "runtime/device/backend.h"

namespace trine {

// What a test sees of a backend that it has made. Lanes have threads of their own.
struct AsyncSeen {
  std::atomic<int> copies = 0, kernels_tried = 0;
  std::atomic<int> kernels_recorded = 0, replays = 0, kernels_enqueued = 0;  // enqueued: one by one
  void reset() { copies = kernels_tried = kernels_recorded = replays = kernels_enqueued = 0; }
};

struct AsyncOptions {
  bool loads_late = false;    // as CUDA does by default, a kernel is loaded at its first launch, once all is idle
  bool tries = false;         // its kernels try several ways: begin_trials()
  bool records = false;       // Timeline::record()
  int refuses_after = -1;     // as many recordings are made, the next is refused; -1: none is
  AsyncSeen* seen = nullptr;  // outlives the backend
};
std::unique_ptr<Backend> make_async_backend(int threads, AsyncOptions options = {});

// Devices that talk among themselves: kernels of collectives are enqueued like all others, and messages pass from
// queue to queue. Uses the groups of `world`, which nobody else may use meanwhile.
std::unique_ptr<DeviceWorld> make_async_world(CommWorld& world);

}  // namespace trine
