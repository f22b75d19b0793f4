// Where every byte of a rank lives, decided before anything is allocated. One arena:
//
//   | states | frames of chunk 0 | ... | received | sent | transients | workspace |
//
// The step's scalars are the first states, side by side. A frame holds what one microbatch keeps from forward to backward; there are as many as microbatches in flight.
// What comes from or goes to another stage has slots of its own: a receive is posted one action ahead, and a send
// owns its bytes until it has arrived. Transients live within one action. Two buffers share bytes only if every
// access to one happens before the first access to the other (plan/happens_before.h). Offsets are those of the
// largest shard, so they are the same on all ranks of a stage.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "parallel/schedules/schedule.h"

namespace trine {

// Bytes of which each microbatch that needs them at the same time has a slot.
struct Pool {
  std::string name;
  int64_t begin = 0, slot_bytes = 0;  // begin: from the start of the arena
  int num_slots = 1;
  std::vector<int> slot_of_microbatch;  // empty: there is one slot

  int slot(int microbatch) const {
    return slot_of_microbatch.empty() ? 0 : slot_of_microbatch[static_cast<size_t>(microbatch)];
  }
  int64_t bytes() const { return num_slots * slot_bytes; }
};

struct ValuePlace {
  int pool = -1;           // none: nobody reads or writes it in memory
  int64_t offset = 0;      // bytes from the start of the slot
  int64_t row_stride = 0;  // elements from one row to the next
};

struct ByteRange {
  int64_t begin = 0, end = 0;
};

// Buffers of one name: several if layers have one each, and each as often as microbatches are in flight.
struct MemoryLine {
  std::string part;  // "weights", "gradients", "Adam", "step", a pool's name, or "workspace"
  std::string name;
  int64_t bytes = 0;  // of all together
  int64_t buffers = 1;
  int in_flight = 1;
};

struct MemoryPlan {
  DeviceKind device = DeviceKind::kCpu;  // whose kernels the workspace was planned for
  std::vector<int64_t> state_offsets;    // by state, bytes from the start of the arena
  std::vector<ValuePlace> values;        // by value
  std::vector<Pool> pools;
  int64_t states_bytes = 0, workspace_bytes = 0;
  std::vector<ByteRange> used;    // parts of the arena that any buffer covers, last the workspace; the rest is
                                  // never written
  std::vector<MemoryLine> table;  // sums to total_bytes(); last the workspace

  int64_t address(const ValuePlace& place, int microbatch) const {
    const Pool& pool = pools[static_cast<size_t>(place.pool)];
    return pool.begin + pool.slot(microbatch) * pool.slot_bytes + place.offset;
  }
  int64_t workspace_begin() const {
    return pools.empty() ? states_bytes : pools.back().begin + pools.back().bytes();
  }
  int64_t total_bytes() const { return workspace_begin() + workspace_bytes; }
  // Where it is known what a machine's kernels use of it: planned is what those of any machine may.
  void set_workspace(int64_t bytes);
};

inline constexpr int64_t kBufferAlignment = 64;  // bytes

// Of a rank that runs `graph` by `schedule` (stage = chunk * pp + rank); `send_slots` buffers for each sent value.
MemoryPlan plan_memory(const Graph& graph, const Schedule& schedule, const Target& target, int send_slots = 2);

// The table: name, buffers x microbatches in flight, bytes; and the total.
std::string print(const MemoryPlan& plan);

}  // namespace trine
