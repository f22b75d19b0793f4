// What a rank takes of its host's memory beside the arena, as far as a plan can know it: the snapshot from which a
// checkpoint is written, and on CUDA what the device copies from and to.
#pragma once

#include <cstdint>
#include <string>

#include "plan/plan.h"

namespace trine {

struct HostMemory {
  // Masters and moments, 12 bytes for each parameter that the rank saves; none where training does not save.
  int64_t snapshot_bytes = 0;
  // Of CUDA: the batch, the copies' own segments, and unless NCCL carries them (--comm nccl), collectives and
  // pipeline messages. With --comm auto they count: whether NCCL can be used is known later.
  int64_t pinned_bytes = 0;

  int64_t total_bytes() const { return snapshot_bytes + pinned_bytes; }
};

HostMemory host_memory(const StagePlan& stage, const Config& config, Coordinate at);
// Of the rank with the largest shards, as a plan's table is.
HostMemory host_memory(const Plan& plan, size_t pp);

// Lines for under a plan's table; empty where there is nothing.
std::string print(const HostMemory& memory);

// Through which the CUDA backend copies between pageable memory and the device.
inline constexpr int64_t kPinnedSegmentBytes = int64_t{4} << 20;
inline constexpr int kPinnedSegments = 4;

}  // namespace trine
