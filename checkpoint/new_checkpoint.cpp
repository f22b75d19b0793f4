#include "checkpoint/new_checkpoint.h"

#include <random>
#include <unistd.h>

#include "base/error.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/file_io.h"

namespace trine {

NewCheckpoint::NewCheckpoint(const std::filesystem::path& folder, SaveJob job) : job_(std::move(job)) {
  const CheckpointFolder checkpoints(folder);
  if (const auto path = checkpoints.committed(job_.state.step); is_there(path))
    throw ConfigError(
        fmt::format("[checkpoint] {} is there already. Name another folder, or remove it.", path.string()));
  job_.folder = folder;
  job_.token = fmt::format("{}-{:08x}", ::getpid(), std::random_device()());
  temporary_ = checkpoints.temporary(job_.state.step, job_.token);
  make_folder(temporary_);
}

NewCheckpoint::~NewCheckpoint() {
  std::error_code ignored;
  std::filesystem::remove_all(temporary_, ignored);
}

std::filesystem::path NewCheckpoint::write(int rank, const std::vector<Slice>& slices) {
  job_.rank = rank;
  const SaveOutcome outcome = save_checkpoint(job_, slices);
  if (!outcome.ok) throw DataError(outcome.problem);
  return outcome.path;
}

}  // namespace trine
