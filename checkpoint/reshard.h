// A checkpoint as another layout would have written it.
#pragma once

#include <filesystem>

#include "checkpoint/checkpoint.h"

namespace trine {

// Writes the state of `source` as folder/step-N with the files that the ranks of `target` would write; a rank's
// part at a time, through a file beside it. Returns its path. ConfigError if the model does not divide so,
// or if there is a step-N already; DataError.
std::filesystem::path reshard(Checkpoint& source, const std::filesystem::path& folder, const SavedLayout& target);

}  // namespace trine
