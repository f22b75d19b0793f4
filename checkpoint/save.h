// Saving: every rank writes its part, rank 0 commits (checkpoint/format.md). Ranks meet in the folder alone.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/huge_pages.h"
#include "checkpoint/checked_checkpoints.h"
#include "checkpoint/manifest.h"
#include "checkpoint/slice.h"

namespace trine {

struct SaveJob {
  std::filesystem::path folder;  // of all checkpoints
  std::string token;             // letters and digits; the same on all ranks, another one for every save
  int rank = 0;
  int num_ranks = 1;
  std::optional<int> keep;               // so many of the newest whole ones stay; none: all
  int64_t takes_ns = 0;                  // at least: of a rehearsal, which writes no tensors
  std::chrono::milliseconds timeout{0};  // how long rank 0 waits for the others' parts, from its own on
  // Set by the caller who knows that a part will not come: then rank 0 waits no longer.
  std::shared_ptr<const std::atomic<bool>> give_up = nullptr;
  // Rank 0's: the largest sequence that the caller knows to have been in the folder; unknown: every manifest there
  // must be readable. And what it knows of other checkpoints' files; nullptr: nothing.
  std::optional<int64_t> last_sequence = {};
  std::shared_ptr<CheckedCheckpoints> checked = nullptr;
  TrainingState state;
  SavedLayout layout;
  nlohmann::json config = nlohmann::json::object();
};

struct SaveOutcome {
  bool ok = false;         // rank 0: committed; others: their part is written
  bool disk_full = false;  // if not ok
  std::string problem;     // if not ok: every rank's reason
  // After the commit something did not work: durability of the name, `latest`, rotation.
  std::vector<std::string> warnings;
  std::filesystem::path path;  // rank 0: of the checkpoint
  int64_t sequence = 0;        // its own
  int64_t bytes = 0;           // of this rank's slices
  double seconds = 0;
};

// Does the whole of a save; failures of the system come back as an outcome, and older checkpoints stay as they are.
SaveOutcome save_checkpoint(const SaveJob& job, std::span<const Slice> slices);

// For rank 0 to ask before any rank starts, once what interrupted saves left is removed: room for `state_bytes` of
// tensors of all ranks? Nothing, or what is wrong.
std::optional<std::string> free_space_problem(const std::filesystem::path& folder, int64_t state_bytes);

// Saves behind training: start() returns when a snapshot is taken. One save at a time.
class AsyncSaver {
 public:
  // Copies to host memory: streaming_copy, or a device's own.
  using Copy = std::function<void(void* to, const void* from, size_t size_bytes)>;
  // A state above `staging_limit_bytes` is written without a snapshot: start() then blocks until it is on disk.
  explicit AsyncSaver(int64_t staging_limit_bytes = INT64_MAX, Copy copy = {});
  ~AsyncSaver();  // waits
  AsyncSaver(AsyncSaver&&) = delete;

  // Takes and touches the memory of a snapshot, so that the first one costs no more than the next.
  void reserve(int64_t size_bytes);
  // REQUIRES: no save is running or unreported (finish()).
  void start(SaveJob job, std::vector<Slice> slices);
  bool busy() const { return running_.valid(); }
  // The outcome, once. poll(): if the save is done by now; finish(): waits. Nothing if none was started.
  std::optional<SaveOutcome> poll();
  std::optional<SaveOutcome> finish();

 private:
  int64_t staging_limit_bytes_;
  Copy copy_;
  HugePages staging_;  // kept from save to save
  std::future<SaveOutcome> running_;
};

}  // namespace trine
