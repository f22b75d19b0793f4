// Where --resume goes on: the run folder, and the checkpoint if a certain one is wanted. Which checkpoints are good
// is for checkpoint/ to say.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace trine {

struct ResumePoint {
  std::filesystem::path run_folder;  // with the config.json to go on with
  std::filesystem::path checkpoint;  // empty: the newest good one
};

// `what`: "latest", "auto", a run folder or a checkpoint. latest and auto look at `out` if it is given, else at the
// newest of runs/<model>-* that began to save. Nothing: auto, and no run began to save. Error with
// ExitCode::kNoCheckpoint if there is nothing to go on from.
std::optional<ResumePoint> find_resume_point(const std::string& what, const std::string& out,
                                             const std::string& model);

// For telling other ranks of it, and back.
std::string to_text(const std::optional<ResumePoint>& point);
std::optional<ResumePoint> resume_point_of(const std::string& text);

// The folder of a run's checkpoints: the run's own, unless its config.json has another (--save).
std::filesystem::path folder_of_saves(const std::filesystem::path& run);

}  // namespace trine
