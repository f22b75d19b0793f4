// The training loop of one rank: data in, steps, validation, metrics, stopping.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/emulated_links.h"
#include "base/modelled_device.h"
#include "checkpoint/manifest.h"
#include "data/sampler.h"
#include "data/tokenizer.h"
#include "runtime/device/outside_memory.h"
#include "runtime/failure/rank_status.h"
#include "runtime/job/agreement.h"
#include "runtime/job/log.h"
#include "runtime/job/run_folder.h"
#include "runtime/step/executor.h"
#include "runtime/training/loss_scaler.h"
#include "runtime/training/metrics.h"
#include "runtime/training/run_outputs.h"
#include "runtime/training/stop_signal.h"

namespace trine {

class LinkPacer;
class Saver;

// How the training ended; an error is thrown instead.
struct TrainingEnd {
  std::string stop_reason;     // empty: all steps done
  bool saved = false;          // the last step is in a checkpoint
  bool save_failed = false;    // the last save
  bool output_failed = false;  // metrics or trace could not be written whole
};

class Trainer {
 public:
  // Of one rank: `lanes` connect it to the others (nullptr: it is alone). All outlive the trainer. `modelled`: the
  // device of a rehearsal (config.rehearsal), which reads no data and sets no weights. All calls are
  // collective but data_facts(). An error that all ranks throw is an AgreedError (runtime/job/agreement.h); others,
  // such as the DataError of who reads a broken part, are of one rank.
  Trainer(const Plan& plan, Log& log, CommLanes* lanes = nullptr, const ModelledDevice* modelled = nullptr);
  // Before prepare(): collectives and messages of the steps take the time of these links (--emulate-links).
  void emulate(EmulatedLinks links);
  ~Trainer();

  // Tokenizer and data.
  void open_data();
  // What all ranks must have found the same, once the data is open.
  Facts data_facts() const;
  // Takes memory and sets weights (and opens the data, if that was not done); after it, files and memory are known
  // to be good. False if a stop was asked for meanwhile: then nothing else may be called. As in train(), only rank
  // 0 is asked for `stop`.
  bool prepare(StopSignal* stop = nullptr);
  // `folder` and `header` label the outputs. Only rank 0 is asked for `stop`, so others may have none. `status`
  // (nullptr: none) is told what runs.
  TrainingEnd train(const RunFolder& folder, const MetricsHeader& header, StopSignal* stop,
                    StatusWriter* status = nullptr);
  // --eval-only: the validation loss.
  double validate();
  bool has_validation() const { return valid_ != nullptr || rehearses_validation(); }
  Executor& executor() { return *executor_; }
  std::string device() const { return backend_->describe(); }  // once it is prepared

 private:
  Communicator* world() { return lanes_ ? &lanes_->world()[Group::kWorld] : nullptr; }
  int rank() const { return config_.mesh.rank(coordinate_); }
  const StagePlan& stage() const { return plan_.stages[static_cast<size_t>(coordinate_.pp)]; }
  void open_own_data();
  bool rehearses_validation() const {
    return modelled_ != nullptr && config_.valid_batches > 0 &&
           (config_.valid_fraction > 0 || !config_.valid_data.empty());
  }
  void open_device();
  void load();
  void resume();
  TrainingState state(int64_t step) const;
  void open(RunOutputs& outputs, const RunFolder& folder, const MetricsHeader& header);
  bool wants_to_stop(StopSignal* stop, int64_t start_ns) const;
  void validate_after(int64_t step, RunOutputs& outputs);
  void finish(RunOutputs& outputs, TrainingEnd& end);
  void exchange(StepMetrics& metrics, bool& stop);
  HostStep load_samples(const BatchReader* reader, int64_t first_sample);  // nullptr: of a rehearsal, none
  // `stop`: this rank's wish, and then everybody's.
  StepMetrics run_step(int64_t index, bool& stop, StatusWriter* status);
  std::vector<MemorySample> memory_samples(int64_t step) const;
  StepTrace step_trace(int64_t step) const;
  void save(int64_t step);
  StepResult run_until_finite_or_skipped(const HostStep& host, int step, bool& skipped);
  [[noreturn]] void stop_non_finite(const HostStep& host, int step, const StepResult& result);
  void report_outside_memory();
  void report_graphs();
  int64_t memory_at(int step);

  const Plan& plan_;
  const Config& config_;
  Log& log_;
  CommLanes* const lanes_;
  const ModelledDevice* const modelled_;
  const Coordinate coordinate_;
  TraceRecorder trace_;
  std::unique_ptr<Backend> backend_;
  OutsideMemory outside_;  // of its device
  std::unique_ptr<LinkPacer> pacer_;
  int64_t memory_in_use_ = 0;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Saver> saver_;  // not within train(): an error is reported before a save is waited for
  std::unique_ptr<BatchReader> train_, valid_;
  LossScaler scaler_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::string train_identity_, valid_identity_;  // of the tokens; empty: never validated
  int64_t first_step_ = 1, next_sample_ = 0, tokens_ = 0;
  std::optional<double> best_valid_loss_;
  std::vector<int32_t> ids_, labels_;
  int64_t step_begin_ns_ = 0;
  int64_t trace_origin_ns_ = 0;  // on rank 0's clock
  struct {
    int64_t begin_ns = 0, end_ns = 0;
  } last_step_;
};

}  // namespace trine
