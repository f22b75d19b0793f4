// A trace becomes an answer: which rank, link, operation or stage makes the step long, by how much, what to change.
// The same for measured and predicted traces. Whatever form it is shown in says what stands here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "analysis/report/explanation.h"
#include "parallel/schedules/schedule.h"
#include "trace/trace.h"

namespace trine {

// What a straggler loses its time to. Compute on a GPU is the device.
enum class LateCause : uint8_t { kCompute, kHost, kData, kDevice };
std::string_view name(LateCause cause);

// Of a rank's step without what is on the wire or waits: that may be another rank's fault.
double own_s(const StepBreakdown& time);

struct StepReport {
  int step = 0;
  StepBreakdown mean;                                // over `ranks`
  std::vector<std::pair<int, StepBreakdown>> ranks;  // rank and its time
};

// Of an axis' operation, per step: count and bytes of all ranks, seconds the mean over ranks. Exposed and waiting
// are what account() counts, so that they sum to the categories.
struct LinkReport {
  Axis axis = Axis::kTp;
  std::string op;
  double count = 0, bytes = 0, exposed_s = 0, hidden_s = 0, wait_s = 0;
  double gb_per_s = 0;  // 10^9 bytes of one rank per second in which its wire was busy
};
// One communicator of an axis, by its first rank: what tells a slow link from a slow axis.
struct GroupReport {
  Axis axis = Axis::kTp;
  std::vector<int> ranks;
  double bytes = 0, wire_s = 0;  // sums over ranks and steps
  double gb_per_s() const { return wire_s > 0 ? bytes / wire_s * 1e-9 : 0; }
};

struct Straggler {
  int rank = 0;
  double late_s = 0;  // own compute, host and idle time beyond what its peers take for the same work; per step
  LateCause cause = LateCause::kCompute;
  bool steady = true;  // in most steps, not in bursts
};

// What makes the step long: from its end on the rank that ends last backwards, each wait followed to the rank that
// it was for. Mean over steps; the parts sum to the step.
struct PathPart {
  EventKind kind = EventKind::kIdle;
  int stage = 0;   // pp coordinate of the rank it lies on
  std::string op;  // "" where no node is known
  double s = 0;
};
// "tp" of comm_tp, "kernels" of compute: the names of parts of an explanation.
std::string_view path_name(EventKind kind);

struct OpReport {
  std::string op;
  double count = 0, s = 0;      // per step: of all ranks; mean over ranks
  double flops = 0, bytes = 0;  // sums over ranks, per step
  double roof_share = 0;        // of the time that its flops or bytes would take at the highest rates in this trace
};

struct StageReport {
  int stage = 0, pp = 0;  // stage = chunk * pp + pp coordinate
  double s = 0;           // computing, per microbatch, mean over ranks
  double flops = 0;       // per microbatch and rank
  int layers = 0;         // that its nodes name
};
struct ActionSpan {
  Action action;
  int64_t t0_ns = 0, t1_ns = 0;  // since the step's begin
};
struct PipelineReport {
  int pp = 1, vpp = 1, microbatches = 0;
  std::optional<PipelineKind> kind;   // of which the order is
  double bubble_s = 0;                // measured, mean over ranks and steps
  double bubble_share = 0;            // of the step
  std::optional<double> ideal_share;  // see ideal_bubble(), of the pipeline's own time
  double uneven_s = 0;                // per step: the slowest rank's compute beyond the mean of pipeline ranks
  std::vector<StageReport> stages;
  std::vector<std::vector<ActionSpan>> ran;  // by pipeline rank, at dp 0 and tp 0 of the typical step
};

// A step that took much longer than the others.
struct OddStep {
  int step = 0;
  double late_s = 0;
  EventKind cause = EventKind::kIdle;  // the category that grew most
  int rank = -1;                       // where one rank alone was late
};

struct MemoryReport {
  int rank = 0;
  int64_t arena_bytes = 0, resident_bytes = 0;  // the most seen; 0: not in the trace
};

struct Finding {
  std::string text;  // a sentence or two: what, how much, what to do
  std::string kind;  // as in the critical path; "bubble" for a pipeline
  std::optional<int> rank, stage;
  std::optional<Axis> axis;
  double s = 0;  // of a step
};

struct Report {
  Mesh mesh;
  std::string backend;
  ModelledTime modelled;
  std::vector<std::string> hosts;  // by index of `ranks`
  std::vector<int> ranks;          // that were read
  bool cpu = true;
  int typical_step = 0;  // the one of median length
  StepBreakdown mean;    // over steps and ranks
  std::vector<StepReport> steps;
  std::vector<LinkReport> links;  // most exposed and waiting first
  std::vector<GroupReport> groups;
  std::vector<std::vector<double>> waits;  // [waiting][for], by index of `ranks`: seconds per step
  std::vector<Straggler> stragglers;       // latest first
  std::vector<PathPart> critical_path;     // longest first
  std::vector<OpReport> ops;               // longest first
  PipelineReport pipeline;
  std::vector<OddStep> odd_steps;
  std::vector<MemoryReport> memory;
  double median_op_s = 0, num_ops = 0;   // of compute, per rank and step
  std::vector<Finding> findings;         // most important first
  std::vector<ExplainedPart> explained;  // sum to the mean step; the peak's part is known with an explanation only
  std::optional<Explanation> explanation;

  size_t index(int rank) const;             // in `ranks`; REQUIRES: was read
  const std::string& host(int rank) const;  // "" of one that was not read
};

// REQUIRES: the trace has a rank with a step.
Report analyse(const Trace& trace);
// Adds what the run's plan and a profile say of it.
void add_explanation(Report& report, Explanation explanation);

}  // namespace trine
