// The folder that holds all a run leaves behind: config.json, metrics.jsonl, tb/, trace/, checkpoints/, log.txt.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "runtime/job/run_lock.h"

namespace trine {

class RunFolder {
 public:
  explicit RunFolder(std::filesystem::path path) : path_(std::move(path)) {}

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path config() const { return path_ / "config.json"; }
  std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path tensorboard() const { return path_ / "tb"; }
  std::filesystem::path log() const { return path_ / "log.txt"; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  // trace/, of a resumed run trace/from-step-000101/, beside what came before; and the file of a rank in it, with
  // the format's ending: rank-0000.json.gz.
  std::filesystem::path traces(int64_t first_step = 1) const;
  std::filesystem::path trace(int rank, int64_t first_step, std::string_view format) const;
  std::filesystem::path stop_file() const { return path_ / "stop"; }

  // Whole or not at all. DataError; ConfigError if there is one that no run has written.
  void write_config(std::string_view json) const;
  // Removes the trace files of an earlier attempt from `first_step`, in any format, and nothing else.
  void remove_traces(int64_t first_step) const;

 private:
  std::filesystem::path path_;
};

// What stands at a path that was named for a run.
enum class FolderKind {
  kMissing,
  kEmpty,
  kRun,    // by its config.json, its checkpoints, its metrics or its lock
  kOther,  // anything else, which is not touched
};
FolderKind folder_kind(const std::filesystem::path& path);  // IoError where the system does not let us know
void require_for_run(const std::filesystem::path& path);    // ConfigError if it is kOther; IoError

// A folder that this job has for itself as long as this lives.
// What it made is removed again if nothing came into it.
class LockedFolder {
 public:
  // For a new run: `wanted`, which may be there and empty. If it holds a run, "wanted-2", "wanted-3" ...: two runs
  // never share one, even if they start together. ConfigError for anything else that is there; DataError with the
  // system's reason if it cannot be made.
  static LockedFolder create(const std::filesystem::path& wanted);
  // `path` itself, which is made if it is missing, and may hold a run. LockedError, ConfigError, DataError.
  static LockedFolder open(const std::filesystem::path& path);
  // The same for any folder.
  static LockedFolder open_any(const std::filesystem::path& path);

  LockedFolder(LockedFolder&&) = default;
  ~LockedFolder();

  const std::filesystem::path& path() const { return path_; }
  uint64_t number() const { return lock_->number(); }
  bool made() const { return made_; }  // was not there before

 private:
  LockedFolder(std::filesystem::path path, bool made)
      : path_(std::move(path)), made_(made), lock_(std::make_unique<RunLock>(path_)) {}

  std::filesystem::path path_;
  bool made_;
  std::unique_ptr<RunLock> lock_;
};

}  // namespace trine
