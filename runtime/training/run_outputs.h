// What a run says of its steps: metrics.jsonl and TensorBoard's file, the trace of this rank, a line on the terminal
// every few steps, and at the end where the time went.
#pragma once

#include <cstdint>
#include <optional>

#include "plan/config/config.h"
#include "runtime/job/log.h"
#include "runtime/job/run_folder.h"
#include "runtime/training/metrics.h"
#include "runtime/training/progress.h"
#include "trace/time_summary.h"
#include "trace/trace_writer.h"

namespace trine {

// Of one rank. A file that cannot be written is a warning, and failed(); it does not stop training.
class RunOutputs {
 public:
  // All outlive this. Steps begin with `first_step`: what files have of it and later ones is cut off.
  RunOutputs(const Config& config, const RunFolder& folder, Log& log, int64_t first_step);

  // IoError if a file cannot be begun. Metrics are rank 0's; traces are of the ranks that --trace-ranks names.
  void open_metrics(const MetricsHeader& header);
  void open_trace(const TraceHeader& header);

  void step(const StepMetrics& metrics);
  bool wants_trace(int64_t step) const;
  void trace(const StepTrace& step);
  void validation(int64_t step, double loss, double seconds);  // that it took
  void finish();                                               // after the last step
  bool failed();

 private:
  void warn(OutputFile& file);

  const Config& config_;
  const RunFolder& folder_;
  Log& log_;
  const int64_t first_step_;
  std::optional<MetricsWriter> metrics_;
  std::optional<TraceWriter> trace_;
  Progress progress_;
  TimeSummary summary_;
  double last_step_s_ = 0;
};

}  // namespace trine
