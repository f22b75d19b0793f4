// The folder of all checkpoints of a run: which there are, which is the newest good one, which go.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace trine {

struct Candidate {
  std::filesystem::path path;
  int64_t step = 0;         // by its name
  int64_t sequence = -1;    // larger is newer; unknown if there is a problem
  std::string problem;      // of the manifest; empty: it is good
  bool unreadable = false;  // the problem is the system's: the manifest may be good
};

struct Chosen {
  std::filesystem::path path;
  std::vector<std::string> passed_over;  // a line each: which newer or damaged ones, and why
};

// Every question here that the system does not answer is an IoError: no folder is taken for an empty one, no
// checkpoint for a damaged one, because a call on it failed.

// Where the checkpoints of a run folder are: in its folder "checkpoints", or where its config.json says that --save
// sends them. Any other folder is taken for that of the checkpoints. DataError if there is no such folder.
std::filesystem::path checkpoints_of(const std::filesystem::path& folder);

class CheckpointFolder {
 public:
  explicit CheckpointFolder(std::filesystem::path path) : path_(std::move(path)) {}
  const std::filesystem::path& path() const { return path_; }

  // Committed checkpoints: the damaged and unreadable manifests, then the others, newest first. Unfinished saves
  // are not among them.
  std::vector<Candidate> candidates() const;
  // Whether there is any, damaged or not.
  bool any_completed() const;
  // What saves and removals that run or were cut off have there: step-N.tmp-TOKEN and step-N.del-TOKEN.
  std::vector<std::filesystem::path> leftovers() const;
  // Whether a save ever started here, finished or not.
  bool ever_begun() const;

  // What is wrong with a checkpoint, or nothing. Ranks that share the work call choose() with the same candidates
  // and a check that gives all of them the same answer.
  using Check = std::function<std::string(const std::filesystem::path&)>;
  // The newest candidate that passes. Error with ExitCode::kNoCheckpoint, listing all reasons, if there is none;
  // IoError if one can not be read, since that may be the newest.
  Chosen choose(const std::vector<Candidate>& candidates, const Check& check) const;
  Chosen newest_valid() const { return choose(candidates(), check_whole); }
  static std::string check_whole(const std::filesystem::path& path);  // manifest, sizes and hashes of all files

  std::filesystem::path committed(int64_t step) const;                            // step-000100
  std::filesystem::path temporary(int64_t step, const std::string& token) const;  // step-000100.tmp-TOKEN
  std::filesystem::path replaced(int64_t step, const std::string& token) const;   // step-000100.old-TOKEN

  // Larger than that of any candidate, and than `known`: what the caller knows to have been there. Without it, a
  // manifest that can not be read is an IoError.
  int64_t next_sequence(std::optional<int64_t> known = {}) const;
  // Removes them, but not `except`. DataError.
  void remove_leftovers(const std::filesystem::path& except) const;
  // Removes what is older than the `keep` newest candidates that are whole by `check`; nothing if there are fewer.
  // Damaged ones among the newest are left alone, and so are all whose manifest is damaged. DataError.
  void rotate(int keep, const std::string& token, const Check& check) const;
  // Removes what replaced() named where a newer save of that step stands. DataError.
  void remove_replaced(const std::string& token) const;

 private:
  void remove(const std::filesystem::path& checkpoint, int64_t step, const std::string& token) const;

  std::filesystem::path path_;
};

// Which checkpoint a path stands for.
struct CheckpointPlace {
  std::filesystem::path folder;      // of all checkpoints
  std::filesystem::path checkpoint;  // this one; empty: the newest good one
};
// IoError if a manifest could not be read: what is unknown may be newer than all others.
void require_readable(const std::vector<Candidate>& candidates);

// `path` is a checkpoint (good or not), a run folder or a folder of checkpoints. Nothing: it is something else.
std::optional<CheckpointPlace> find_checkpoints(const std::filesystem::path& path);

}  // namespace trine
