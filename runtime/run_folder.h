// The folder that holds all a run leaves behind: config.json, metrics.jsonl, tb/, trace/, checkpoints/, log.txt.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

namespace trine {

class RunFolder {
 public:
  // Makes the folder `wanted` and those above it. If it exists, "wanted-2", "wanted-3" ...: two runs never share
  // one, even if they start together. DataError with the system's reason if it cannot be made.
  static RunFolder create(const std::filesystem::path& wanted);
  // One that exists already.
  explicit RunFolder(std::filesystem::path path) : path_(std::move(path)) {}

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path config() const { return path_ / "config.json"; }
  std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path tensorboard() const { return path_ / "tb"; }
  std::filesystem::path log() const { return path_ / "log.txt"; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  // trace/rank-0000.json; of a resumed run trace/from-step-000101/rank-0000.json, beside what came before.
  std::filesystem::path trace(int rank, int64_t first_step = 1) const;
  std::filesystem::path stop_file() const { return path_ / "stop"; }

  // Takes it away again if nothing is in it: of a run that did not begin.
  void remove_if_empty() const;
  void write_config(std::string_view json) const;  // whole or not at all; DataError

 private:
  std::filesystem::path path_;
};

}  // namespace trine
