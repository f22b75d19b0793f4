// The config.json of a run folder, and what can be said of a run whose config.json is missing or damaged.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"

namespace trine {

class RunConfig {
 public:
  // IoError if there is a file that can not be read.
  explicit RunConfig(const std::filesystem::path& run);

  bool missing() const { return state_ == State::kMissing; }
  bool damaged() const { return state_ == State::kDamaged; }  // no JSON object
  // All that a run writes there, or nothing.
  std::optional<nlohmann::json> whole() const;
  std::filesystem::path path() const { return run_ / "config.json"; }
  // Where --save sent the checkpoints; nothing: into the run folder, as far as it is known. A relative path counts
  // from where training was started: from here if it is there, else from where `out` of the same file says.
  std::optional<std::filesystem::path> saves() const;
  // For who needs to know and can not.
  DataError unknown_saves() const;

 private:
  enum class State { kMissing, kDamaged, kObject } state_ = State::kMissing;
  std::filesystem::path run_;
  nlohmann::json object_ = nlohmann::json::object();
};

}  // namespace trine
