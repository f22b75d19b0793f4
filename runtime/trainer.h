// The training loop of one rank: data in, steps, validation, metrics, stopping.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/sampler.h"
#include "runtime/executor.h"
#include "runtime/log.h"
#include "runtime/loss_scaler.h"
#include "runtime/metrics.h"
#include "runtime/progress.h"
#include "runtime/run_folder.h"
#include "runtime/stop_signal.h"
#include "runtime/trace_writer.h"

namespace trine {

// How the training ended; an error is thrown instead.
struct TrainingEnd {
  std::string stop_reason;     // empty: all steps done
  bool output_failed = false;  // metrics or trace could not be written whole
};

class Trainer {
 public:
  // `plan` outlives the trainer.
  Trainer(const Plan& plan, Log& log);

  // Sets weights and opens the data; after it, files and memory are known to be good.
  void prepare();
  // `folder`, `header` and `device` label the outputs.
  TrainingEnd train(const RunFolder& folder, const MetricsHeader& header, StopSignal& stop);
  // --eval-only: the validation loss.
  double validate();
  bool has_validation() const { return valid_ != nullptr; }
  Executor& executor() { return *executor_; }

 private:
  HostStep load_samples(const BatchReader& reader, int64_t first_sample);
  StepMetrics run_step(int64_t index);
  StepResult run_until_finite_or_skipped(const HostStep& host, int step, bool& skipped);
  [[noreturn]] void stop_non_finite(const HostStep& host, int step, const StepResult& result);
  void report_outside_memory();
  void warn_output(OutputFile& file);

  const Plan& plan_;
  const Config& config_;
  Log& log_;
  TraceRecorder trace_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<BatchReader> train_, valid_;
  LossScaler scaler_;
  std::vector<int32_t> ids_, labels_;
  int64_t step_begin_ns_ = 0;
};

}  // namespace trine
