// The events of one lane's owner in a ring buffer: always on, so recording is a copy and nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "base/trace_event.h"

namespace trine {

// One writer, and readers on the writer's thread (one recorder per rank; with asynchronous lanes, one per lane).
// The newest events stay, whatever their number.
class TraceRecorder {
 public:
  // Memory for `capacity_events`, rounded up to a power of two, is touched here and never grows.
  explicit TraceRecorder(size_t capacity_events);

  // No allocation, no lock, no system call. REQUIRES: the events of a step come one after another. Step 0 is what
  // belongs to none (validation).
  void record(const TraceEvent& event) {
    TraceEvent& slot = events_[num_recorded_ & mask_];
    num_dropped_ += (slot.step == event.step) & (event.step > 0);
    slot = event;
    ++num_recorded_;
  }

  // The events of a step in the order of recording, as far as the ring still holds them.
  std::vector<TraceEvent> step(int step) const;
  // Events that made place for others of their own step: more than zero means that the ring is
  // too small for a step.
  int64_t dropped() const { return num_dropped_; }

 private:
  std::vector<TraceEvent> events_;
  size_t mask_;
  size_t num_recorded_ = 0;
  int64_t num_dropped_ = 0;
};

}  // namespace trine
