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

// What an event's time counts as. The first group partitions a rank's step (see runtime/accounting.h).
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

struct TraceEvent {
  int64_t t0_ns = 0, t1_ns = 0;  // monotonic clock of the rank
  double flops = 0;
  int64_t bytes = 0;        // read + written, or on the wire for communication
  int32_t step = 0;         // counts from 1
  int32_t node = -1;        // index in the stage graph, -1 if the event is no node
  int32_t microbatch = -1;  // -1 outside the microbatch region
  Lane lane = Lane::kCompute;
  EventKind kind = EventKind::kCompute;
};

}  // namespace trine
