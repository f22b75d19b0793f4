// From --out, --save and --resume to the folders that this job writes: chosen by rank 0, locked, and seen by all.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>

#include "comm/communicator.h"
#include "plan/config/config.h"
#include "runtime/job/run_folder.h"

namespace trine {

// How long a rank looks for what rank 0 wrote, before it says that it does not see it.
inline constexpr std::chrono::milliseconds kSharedPatience{2000};

// The folder of a run, for as long as this lives; to be made before anybody looks for the newest checkpoint there.
class RunStart {
 public:
  // Makes the folder of a run that begins, or takes that of one that goes on, and locks it, and that of --save.
  // ConfigError if another job is at it, or --out is something else than a run, empty or new; DataError if not all
  // ranks see one folder of that name. Collective over `world` (nullptr: this rank is alone): all ranks throw what
  // one of them does.
  RunStart(const Config& config, Communicator* world, std::chrono::milliseconds patience = kSharedPatience);
  RunStart(const RunStart&) = delete;
  // What was made and stayed empty goes with the last rank.
  ~RunStart();

  const RunFolder& folder() const { return *folder_; }
  // The same on all ranks, another one for each start of a run.
  uint64_t number() const { return number_; }

  void write_config() const;  // collective; ConfigError, DataError

 private:
  void choose();
  void lock_saves();

  const Config& config_;
  Communicator* const world_;
  std::optional<LockedFolder> run_, saves_;  // of rank 0
  std::optional<RunFolder> folder_;
  uint64_t number_ = 0;
  bool made_ = false;
};

// DataError on all ranks, naming ranks and hosts, unless all see lock `number` in `folder` (which came by `flag`).
void require_shared(Communicator* world, const std::filesystem::path& folder, uint64_t number, const char* flag,
                    std::chrono::milliseconds patience);

}  // namespace trine
