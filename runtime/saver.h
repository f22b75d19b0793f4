// Checkpoints of a training that goes on: when to save, behind which step, and what became of it.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "checkpoint/checkpoint.h"
#include "checkpoint/save.h"
#include "data/tokenizer.h"
#include "runtime/executor.h"
#include "runtime/log.h"

namespace trine {

// Collective, as training is: all ranks make the same calls.
class Saver {
 public:
  // `folder`: of all checkpoints; `world`: nullptr for one rank. Saves nothing unless the configuration asks for
  // it.
  // Takes the memory of snapshots at once, so that the first save is no slower than the others. The executor
  // outlives the saver.
  Saver(const Config& config, const Executor& executor, std::filesystem::path folder, Communicator* world,
        Log& log);
  // Waits for this rank's part of a save that runs, not for the others': after an error they may never come.
  ~Saver();

  static bool wanted(const Config& config) { return config.save_interval.has_value() || !config.save.empty(); }
  bool wanted() const { return wanted(config_); }
  bool due(int64_t step) const { return config_.save_interval && step % *config_.save_interval == 0; }
  // Waits for the save before, takes a snapshot and writes behind. A save that can not be made is a warning.
  void save(const TrainingState& state);
  // The last save is done, well or not.
  void finish();

  bool saved(int64_t step) const { return last_step_ == step; }  // begun, and not known to have failed
  bool failed() const { return failed_; }                        // the newest one

 private:
  std::optional<SaveOutcome> wait();
  void add_problems_of_others(SaveOutcome& outcome) const;
  void report(std::optional<SaveOutcome> outcome);

  const Config& config_;
  const Executor& executor_;
  const std::filesystem::path folder_;
  const int rank_;
  Communicator* const world_;
  Log& log_;
  int64_t last_step_ = 0;
  bool failed_ = false;
  std::shared_ptr<std::atomic<bool>> give_up_;  // a rank's part of the save that runs will not come
  AsyncSaver saver_;
};

// A checkpoint that all ranks have agreed on and checked together: `checkpoint` if it is named, else the newest
// good one of `folder`; what was passed over is logged. Error with ExitCode::kNoCheckpoint.
Checkpoint open_checkpoint(const std::filesystem::path& folder, const std::filesystem::path& checkpoint, int rank,
                           Communicator* world, Log& log);

// ConfigError that lists what may not differ between a checkpoint and the run that goes on: the model, the
// tokenizer, the data.
void check_same_training(const Manifest& manifest, const Config& config, const Tokenizer& tokenizer);
SavedLayout layout_of(const Config& config);
// What may differ and does: "steps 100 -> 200, lr 0.001 -> 0.0001". The layout is told elsewhere.
std::string changed_settings(const Manifest& manifest, const Config& config);

}  // namespace trine
