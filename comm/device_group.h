// Ranks whose devices talk among themselves (NCCL): each call enqueues in a queue of the device and returns. What a
// queue is, the backend says (a cudaStream_t).
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>

#include "comm/reduce.h"
#include "comm/world.h"

namespace trine {

// As Communicator, in the same shards of split_size(count, size(), rank()), with two differences: buffers lie on
// the device, and sums are added in the library's order, so their last bits may differ from comm/reduce.h. All
// ranks of a group make the same calls in the same order. Calls come from one thread; after DeviceWorld::abort()
// they throw why.
class DeviceGroup {
 public:
  virtual ~DeviceGroup() = default;
  virtual void all_reduce(void* data, int64_t count, DType dtype, ReduceOp op, void* queue) = 0;
  virtual void reduce_scatter(const void* input, void* shard, int64_t count, DType dtype, int64_t unit,
                              void* queue) = 0;
  virtual void all_gather(const void* shard, void* output, int64_t count, DType dtype, int64_t unit,
                          void* queue) = 0;
  // To and from a rank of the group; the two ends match in their order.
  virtual void send(const void* data, int64_t count, DType dtype, int peer, void* queue) = 0;
  virtual void receive(void* data, int64_t count, DType dtype, int peer, void* queue) = 0;
};

// Messages between pipeline stages in one direction. Gradients have edges of their own, so that none waits behind
// another (a FIFO for all would deadlock 1F1B).
struct PipelineEdge {
  int peer = 0;  // pp coordinate
  bool backward = false;
  auto operator<=>(const PipelineEdge&) const = default;
};

// All groups of one rank's device.
class DeviceWorld {
 public:
  virtual ~DeviceWorld() = default;
  virtual DeviceGroup& operator[](Axis axis) = 0;
  virtual void send(PipelineEdge edge, const void* data, int64_t bytes, void* queue) = 0;
  virtual void receive(PipelineEdge edge, void* data, int64_t bytes, void* queue) = 0;
  // PeerLostError if a group has failed behind the host's back. From any thread, as abort().
  virtual void check() = 0;
  // Ends what is under way on the device; no group is of use afterwards.
  virtual void abort(std::exception_ptr why) = 0;
};

// NCCL's groups, made over the ranks of `world` in the same order everywhere; with `ring`, also the pipeline's
// edges between its last rank and its first (interleaved schedules). Without `peer_to_peer` GPUs do not reach into
// each other's memory, for the rest of the process (NCCL_P2P_DISABLE, unless the environment has it). Collective;
// the calling thread's device is current. ConfigError where the program or the machine has no NCCL; HangError if a
// rank does not come within `timeout` (0: wait for ever).
std::unique_ptr<DeviceWorld> make_nccl_world(CommWorld& world, bool ring, bool peer_to_peer,
                                             std::chrono::milliseconds timeout);
// "NCCL 2.27.7", empty where there is none.
std::string nccl_version();

}  // namespace trine
