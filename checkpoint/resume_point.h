// What --resume means: the checkpoint folders are asked first, whatever became of the run folder.
#pragma once

#include <optional>
#include <string>

#include "plan/config/flags.h"

namespace trine {

// latest and auto look at the run `out` if that is given; else at the run that saves to `save`, if that has
// completed checkpoints; else at the newest of runs/<model>-* that completed one. A run's checkpoints are in
// `save`, where its config.json says, or in its folder "checkpoints": the first of them that has completed ones. If
// its config.json is missing or damaged, the newest checkpoint's configuration stands in.
//
// Nothing: auto, and no checkpoint was ever completed. Error with ExitCode::kNoCheckpoint if there is nothing to go
// on from; ConfigError if `save` is another run's; DataError where a damaged config.json leaves it open where the
// checkpoints are; IoError.
std::optional<ResumePoint> find_resume_point(const ResumeWish& wish);

// For telling other ranks of it, and back.
std::string to_text(const std::optional<ResumePoint>& point);
std::optional<ResumePoint> resume_point_of(const std::string& text);

}  // namespace trine
