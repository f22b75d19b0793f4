// What happened when: the one record that the executor measures, the simulator predicts and every report reads.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace trine {

// A lane is a queue of one rank in which work runs in order: a stream, or a thread with a FIFO.
enum class Lane : uint8_t { kCompute, kTp, kPp, kDp, kCopy, kHost };
inline constexpr std::array<Lane, 6> kLanes = {Lane::kCompute, Lane::kTp,   Lane::kPp,
                                               Lane::kDp,      Lane::kCopy, Lane::kHost};
std::string_view name(Lane lane);

// What an event's time counts as. The first group partitions a rank's step (see trace/accounting.h).
enum class EventKind : uint8_t {
  kCompute,
  kRecompute,
  kCommTp,
  kCommPp,
  kCommDp,
  kWait,       // for a late peer
  kBubble,     // for a pipeline message not yet sent
  kOptimizer,  // epilogue: norm, AdamW, compute copies
  kData,       // reading samples
  kHost,       // anything else on the host: logging, metrics
  kCheckpoint,
  kIdle,
};
inline constexpr int kNumEventKinds = 12;
std::string_view name(EventKind kind);  // as in metrics.jsonl: "compute", "comm_tp", ...

// What does not apply is -1.
struct TraceEvent {
  int64_t t0_ns = 0,
          t1_ns = 0;  // while a step is recorded, the rank's clock (base/clock.h); later see trace/trace.h
  double flops = 0;
  int64_t bytes = 0;        // read + written, or on the wire for communication
  int32_t step = 0;         // counts from 1
  int32_t node = -1;        // index in the stage graph
  int32_t microbatch = -1;  // -1 outside the microbatch region
  int32_t action = -1;      // index in the pipeline rank's schedule
  int32_t peer = -1;        // of a message: the pipeline rank (pp coordinate) at its other end
  // Of communication, from 0 in each step. A collective: how many its lane made before, the same number on all
  // ranks of the group along the lane's axis. A message: how many went before it on its edge (sender, receiver,
  // direction), the same number at both ends.
  int32_t sequence = -1;
  int16_t chunk = -1;  // of the rank's model chunks
  Lane lane = Lane::kCompute;
  EventKind kind = EventKind::kCompute;
  bool operator==(const TraceEvent&) const = default;
};

}  // namespace trine
