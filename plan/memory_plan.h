// Where every byte of a rank lives, decided before anything is allocated. One arena:
//
//   | states | frame 0 | frame 1 | ... | transients | workspace |
//
// A frame holds what one microbatch keeps from forward to backward; there are as many as microbatches in flight.
// Transients live within one action. Two buffers share bytes only if every access to one happens before the first
// access to the other (plan/happens_before.h). Offsets are those of the largest shard, so they are the same on all
// ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "parallel/schedules/schedule.h"

namespace trine {

struct ValuePlace {
  enum class Where : uint8_t { kNowhere, kFrame, kTransient };
  Where where = Where::kNowhere;
  int64_t offset = 0;      // bytes from the start of the frame or of the transients
  int64_t row_stride = 0;  // elements from one row to the next
};

struct ByteRange {
  int64_t begin = 0, end = 0;
};

struct MemoryLine {
  std::string name;
  int64_t bytes = 0;
};

struct MemoryPlan {
  std::vector<int64_t> state_offsets;  // by state, bytes from the start of the arena
  std::vector<ValuePlace> values;      // by value
  int64_t states_bytes = 0, frame_bytes = 0, transient_bytes = 0, workspace_bytes = 0;
  int num_frames = 1;
  std::vector<int> frame_of_microbatch;
  std::vector<ByteRange> used;    // parts of the arena that any buffer covers; the rest is never written
  std::vector<MemoryLine> table;  // by name; sums to total_bytes()

  int64_t frame_begin(int frame) const { return states_bytes + frame * frame_bytes; }
  int64_t transients_begin() const { return frame_begin(num_frames); }
  int64_t workspace_begin() const { return transients_begin() + transient_bytes; }
  int64_t total_bytes() const { return workspace_begin() + workspace_bytes; }
};

inline constexpr int64_t kBufferAlignment = 64;  // bytes

MemoryPlan plan_memory(const Graph& graph, const Schedule& schedule, int threads);

std::string print(const MemoryPlan& plan);

}  // namespace trine
