// Checkpoints of a training that goes on: when to save, behind which step, and what became of it.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "checkpoint/checked_checkpoints.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/save.h"
#include "data/tokenizer.h"
#include "runtime/job/log.h"
#include "runtime/job/run_folder.h"
#include "runtime/step/executor.h"
#include "runtime/training/rehearsed.h"

namespace trine {

// Collective, as training is: all ranks make the same calls.
class Saver {
 public:
  // `world`: nullptr for one rank. Saves nothing unless the configuration asks for it.
  // Takes the memory of snapshots at once, so that the first save is no slower than the others. The executor
  // outlives the saver.
  Saver(const Config& config, const Executor& executor, const RunFolder& run, Communicator* world, Log& log);
  // Waits for this rank's part of a save that runs, not for the others': after an error they may never come.
  ~Saver();
  // Of a rehearsal: from now on a save takes its time, and only its manifest is written.
  void rehearse(const ModelledSave& modelled) { modelled_ = modelled; }

  bool wanted() const { return config_.saves(); }
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
  const std::filesystem::path folder_;  // of all checkpoints
  const nlohmann::json saved_config_;
  const int rank_;
  Communicator* const world_;
  Log& log_;
  int64_t last_step_ = 0;
  bool failed_ = false;
  std::shared_ptr<std::atomic<bool>> give_up_;  // a rank's part of the save that runs will not come
  // Rank 0's: the largest sequence known, unless it could not be found out; and which checkpoints are whole.
  std::optional<int64_t> last_sequence_;
  std::shared_ptr<CheckedCheckpoints> checked_;
  std::optional<ModelledSave> modelled_;
  AsyncSaver saver_;
};

// Where the checkpoints of this run go.
std::filesystem::path saves_of(const Config& config, const std::filesystem::path& run);
// What the run folder and the checkpoints keep of a configuration. A relative --save stays so only where it can be
// found from `out` wherever a later run starts (RunConfig::saves()).
Config kept_config(Config config, const RunFolder& run);
// ConfigError if they may not go there: the folder is another run's, or has checkpoints and the run begins anew.
// The first asks, before anything takes time; the second makes the folder the run's own,
// or throws, and is rank 0's.
void check_saves(const Config& config);
void claim_saves(const Config& config, const RunFolder& run);

// A checkpoint that all ranks have agreed on and checked together: `checkpoint` if it is named, else the newest
// good one of `folder`; what was passed over is logged. Error with ExitCode::kNoCheckpoint; IoError.
Checkpoint open_checkpoint(const std::filesystem::path& folder, const std::filesystem::path& checkpoint, int rank,
                           Communicator* world, Log& log);

// ConfigError that lists what may not differ between a checkpoint and the run that goes on: the model, the
// tokenizer, the data. `data`: the identity of the training tokens (data/token_identity.h); paths do not matter.
void check_same_training(const Manifest& manifest, const Config& config, const Tokenizer& tokenizer,
                         const std::string& data);
// Of a checkpoint that does not say which tokens it was trained on, if --data is another one than it was: nobody
// can tell. Else empty.
std::string unknown_data_warning(const Manifest& manifest, const Config& config);
SavedLayout layout_of(const Config& config);
// What may differ and does: "steps 100 -> 200, lr 0.001 -> 0.0001". The layout is told elsewhere.
std::string changed_settings(const Manifest& manifest, const Config& config);

}  // namespace trine
