// A rank's trace as Chrome / Perfetto JSON, in the fields that Kineto writes, so that Holistic Trace Analysis reads
// it.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "base/trace_event.h"
#include "comm/clock.h"
#include "graph/graph.h"
#include "runtime/output_file.h"

namespace trine {

struct TraceLabels {
  std::string device;           // "cpu avx512bf16, 2 threads"
  std::string coordinate;       // "pp 0 dp 0 tp 1": stands beside the rank's name
  std::string backend = "mpi";  // of distributedInfo: "mpi", "local", "nccl"
  ClockOffset clock;            // to rank 0's clock
  // What added to rank 0's monotonic clock gives the wall clock (wall_clock_base_ns() there), the same on all
  // ranks.
  int64_t base_time_ns = 0;
};

int64_t wall_clock_base_ns();  // of this rank's clock

// A row per lane and one with the steps. Timestamps are microseconds of rank 0's monotonic clock, right within
// distributedInfo's clock_error_ns; baseTimeNanoseconds + ts is wall-clock time. The file is complete JSON after
// every step, so a run that is killed leaves a trace that opens. A write that fails leaves its step out and does
// not stop training: see OutputFile.
class TraceWriter {
 public:
  TraceWriter(const std::filesystem::path& path, int rank, int num_ranks, const TraceLabels& labels = {});

  // Events of one step, in any order. `graph` is the stage graph that their nodes belong to.
  void write_step(const Graph& graph, std::span<const TraceEvent> events);
  void close();  // nothing is written afterwards

  OutputFile& file() { return file_; }

 private:
  void write(std::string events);

  OutputFile file_;
  int rank_;
  int64_t clock_offset_ns_;
  std::string unwritten_;    // header and row names, until they are in the file
  int64_t tail_offset_ = 0;  // where the closing brackets begin
  bool closed_ = false;
};

}  // namespace trine
