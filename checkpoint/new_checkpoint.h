// A checkpoint that a tool writes, a rank's part after another's.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/save.h"
#include "checkpoint/staging.h"

namespace trine {

class NewCheckpoint {
 public:
  // ConfigError if `folder` has a checkpoint of that step. `job` says all but the token and the rank.
  NewCheckpoint(const std::filesystem::path& folder, SaveJob job);
  // An unfinished one is removed.
  ~NewCheckpoint();
  NewCheckpoint(NewCheckpoint&&) = delete;

  // A new file for the tensors of the next rank.
  Staging staging() const { return Staging(temporary_ / "staging"); }
  // Rank 0 must come last: it commits. Returns the outcome's path. DataError.
  std::filesystem::path write(int rank, const std::vector<Slice>& slices);

 private:
  SaveJob job_;
  std::filesystem::path temporary_;
};

}  // namespace trine
