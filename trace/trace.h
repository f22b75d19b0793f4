// A trace: what ran when, on every rank, in some steps. A run measures it, its files hold it (trace_writer.h,
// trace_reader.h), a simulator predicts it, and what explains a step reads nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mesh.h"
#include "base/trace_event.h"
#include "trace/accounting.h"
#include "trace/node_label.h"

namespace trine {

// How many bytes of a kind were in use from a time on.
struct MemorySample {
  enum class Kind : uint8_t { kArena, kResident };  // of the plan's arena; of the process
  int64_t time_ns = 0;
  int64_t bytes = 0;
  Kind kind = Kind::kArena;
  bool operator==(const MemorySample&) const = default;
};

// One step of one rank. In a Trace all times are nanoseconds of rank 0's clock since the trace's origin, right
// within clock.error_ns; no event ends before it begins. Events come in the order in which they were recorded, may
// overlap between lanes, and may reach out of the step.
struct StepTrace {
  int32_t step = 0;                  // counts from 1
  int64_t begin_ns = 0, end_ns = 0;  // the bounds that metrics.jsonl accounts; a step ends where the next begins
  ClockOffset clock;                 // what made this rank's clock rank 0's
  std::vector<TraceEvent> events;
  std::vector<MemorySample> memory;  // in the order of time
  bool operator==(const StepTrace&) const = default;
};

// Where times are not this machine's own: those of a rehearsal, or of emulated links.
struct ModelledTime {
  std::string cluster;      // whose; empty: all is this machine's
  bool links_only = false;  // kernels are this machine's
  double times = 1;         // emulated links are so many times slower (--dilation), a rehearsal faster (--speed-up)

  // Of this clock, for a second there.
  double s_per_second() const { return links_only ? times : 1 / times; }
  bool operator==(const ModelledTime&) const = default;
};

struct RankTrace {
  int rank = 0;
  Coordinate coordinate;
  std::string host, device;      // "node7"; "cpu avx512bf16, 2 threads"
  std::vector<StepTrace> steps;  // rising
  bool operator==(const RankTrace&) const = default;
};

struct Trace {
  Mesh mesh;
  std::string backend;  // what carries messages: "mpi", "local", "nccl"; of a prediction "model"
  ModelledTime modelled;
  int64_t origin_unix_ns = 0;  // wall clock at time 0
  std::vector<std::vector<NodeLabel>>
      nodes;                     // by pp coordinate, then by TraceEvent::node; empty: no such rank read
  std::vector<RankTrace> ranks;  // rising; not all of the mesh, where only some were written
  bool operator==(const Trace&) const = default;

  // Of an event of that rank; nullptr if it is no node.
  const NodeLabel* label(const RankTrace& rank, const TraceEvent& event) const;
};

// Adds `by_ns` to every time of the step: what was recorded on a rank's clock gets the trace's.
void shift(StepTrace& step, int64_t by_ns);

// What the step's time counts as: for a measured step, this rank's part in the line of metrics.jsonl, which is the
// mean over all ranks.
StepBreakdown account(const StepTrace& step);

// "rank-0003"
std::string rank_name(int rank);

}  // namespace trine
