#include "checkpoint/save.h"

#include <algorithm>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/file_io.h"
#include "checkpoint/shard_file.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kLookNs = 50'000'000;  // between two looks whether a save is given up

constexpr int64_t kMaxPartBytes = int64_t{1} << 30;
constexpr std::chrono::milliseconds kFirstPause{1}, kLongestPause{100};

fs::path part_path(const fs::path& folder, int rank) { return folder / fmt::format("part-{:04}.json", rank); }
fs::path failed_path(const fs::path& folder, int rank) { return folder / fmt::format("failed-{:04}.json", rank); }

void write_own_part(const SaveJob& job, const fs::path& folder, std::span<const Slice> slices) {
  make_folder(folder);
  require_free_bytes(folder, shard_bytes(slices));
  const Part part = write_shard(folder, job.rank, slices);
  write_whole_file(part_path(folder, job.rank), write_part(part));
}

// Best effort: on a full disk rank 0 may have to wait for its timeout instead.
void leave_failure(const SaveJob& job, const fs::path& folder, const SaveOutcome& outcome) {
  try {
    make_folder(folder);
    write_whole_file(failed_path(folder, job.rank),
                     nlohmann::json{{"disk_full", outcome.disk_full}, {"problem", outcome.problem}}.dump(
                         -1, ' ', false, nlohmann::json::error_handler_t::replace));
  } catch (const Error&) {
  }
}

void add_failure(SaveOutcome& outcome, int rank, const fs::path& path) {
  std::string problem = "left no reason";
  try {
    const auto json = parse_json(read_small_file(path, 1 << 16), path);
    outcome.disk_full = outcome.disk_full || json.value("disk_full", false);
    problem = json.value("problem", problem);
  } catch (const std::exception&) {
  }
  outcome.problem += fmt::format("{}rank {}: {}", outcome.problem.empty() ? "" : "\n", rank, problem);
}

// Waits until every other rank has written its part or failed. IoError if that can not be seen.
void await_parts(const SaveJob& job, const fs::path& folder, SaveOutcome& outcome) {
  const int64_t begin_ns = now_ns();
  auto pause = kFirstPause;
  for (int rank = 1; rank < job.num_ranks;) {
    if (is_there(part_path(folder, rank))) {
      ++rank;
    } else if (is_there(failed_path(folder, rank))) {
      add_failure(outcome, rank, failed_path(folder, rank));
      ++rank;
    } else if (job.give_up && *job.give_up) {
      outcome.problem += fmt::format("{}rank {}: no part came", outcome.problem.empty() ? "" : "\n", rank);
      ++rank;
    } else if (std::chrono::nanoseconds(now_ns() - begin_ns) >= job.timeout) {
      outcome.problem += fmt::format(
          "{}rank {}: [checkpoint] {}: no part came within {}. Raise --timeout, or look at "
          "that rank's disk.",
          outcome.problem.empty() ? "" : "\n", rank, folder.string(),
          format_duration(std::chrono::duration<double>(job.timeout).count()));
      ++rank;
    } else {
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, kLongestPause);
    }
  }
}

// Returns the checkpoint's sequence.
int64_t write_manifest_file(const SaveJob& job, const CheckpointFolder& checkpoints, const fs::path& folder) {
  std::vector<Part> parts;
  for (int rank = 0; rank < job.num_ranks; ++rank) {
    const fs::path path = part_path(folder, rank);
    parts.push_back(read_part(read_small_file(path, kMaxPartBytes), path));
  }
  Manifest manifest;
  manifest.sequence = checkpoints.next_sequence(job.last_sequence);
  manifest.state = job.state;
  manifest.layout = job.layout;
  manifest.config = job.config;
  merge_parts(std::move(parts), manifest, folder);
  manifest.files.push_back(write_view(folder, manifest));
  const std::string text = write_manifest(manifest);
  File file = File::create(folder / kManifestFile);
  file.write(0, std::as_bytes(std::span(text)));
  file.sync();
  for (int rank = 0; rank < job.num_ranks; ++rank) remove_file(part_path(folder, rank));
  sync_folder(folder);
  return manifest.sequence;
}

// Up to the rename that makes it a checkpoint.
fs::path commit(const SaveJob& job, const CheckpointFolder& checkpoints, const fs::path& folder) {
  const fs::path target = checkpoints.committed(job.state.step);
  const fs::path aside = checkpoints.replaced(job.state.step, job.token);
  const bool replaces = is_there(target);
  if (replaces) rename_path(target, aside);
  try {
    rename_path(folder, target);
  } catch (...) {
    std::error_code ignored;  // aside is where readers find it, too
    if (replaces) fs::rename(aside, target, ignored);
    throw;
  }
  return target;
}

// What is not whole is told once; what can not be read, each time.
void rotate(const SaveJob& job, const CheckpointFolder& checkpoints, SaveOutcome& outcome) {
  CheckedCheckpoints nothing_known;
  CheckedCheckpoints& checked = job.checked ? *job.checked : nothing_known;
  checked.trust(outcome.path);
  checkpoints.rotate(*job.keep, job.token, [&](const fs::path& path) {
    std::string problem;
    bool is_new = true;
    try {
      problem = checked.problem_of(path, is_new);
    } catch (const IoError& error) {
      problem = error.what();
    }
    if (is_new && !problem.empty())
      outcome.warnings.push_back(fmt::format("--keep does not count {}: {}", path.filename().string(), problem));
    return problem;
  });
}

// None of it can undo the commit. Older checkpoints go only after the new one is sure to stay.
void after_commit(const SaveJob& job, const CheckpointFolder& checkpoints, SaveOutcome& outcome) {
  try {
    sync_folder(job.folder);
    write_whole_file(job.folder / "latest", outcome.path.filename().string() + "\n");
    sync_folder(job.folder);
    checkpoints.remove_replaced(job.token);
    if (job.keep) rotate(job, checkpoints, outcome);
  } catch (const Error& error) {
    outcome.warnings.emplace_back(error.what());
  }
}

void discard(const fs::path& folder, SaveOutcome& outcome) {
  try {
    remove_folder(folder);
  } catch (const Error& error) {
    outcome.warnings.emplace_back(error.what());
  }
}

// Errors of the system, but also of memory and threads: training goes on in any case.
void set_problem(SaveOutcome& outcome, const std::exception& error) {
  outcome.problem = error.what();
  outcome.disk_full = dynamic_cast<const DiskFullError*>(&error) != nullptr;
}

void run_rank_0(const SaveJob& job, const CheckpointFolder& checkpoints, const fs::path& folder,
                std::span<const Slice> slices, SaveOutcome& outcome) {
  try {
    make_folder(job.folder);
    checkpoints.remove_leftovers(folder);
  } catch (const Error& error) {
    outcome.warnings.emplace_back(error.what());
  }
  try {
    write_own_part(job, folder, slices);
  } catch (const std::exception& error) {
    set_problem(outcome, error);
    if (job.num_ranks > 1) outcome.problem = "rank 0: " + outcome.problem;
  }
  try {
    await_parts(job, folder, outcome);
    if (outcome.problem.empty()) {
      outcome.sequence = write_manifest_file(job, checkpoints, folder);
      outcome.path = commit(job, checkpoints, folder);
      outcome.ok = true;
      return after_commit(job, checkpoints, outcome);
    }
  } catch (const std::exception& error) {
    set_problem(outcome, error);
  }
  discard(folder, outcome);
}

}  // namespace

SaveOutcome save_checkpoint(const SaveJob& job, std::span<const Slice> slices) {
  TRINE_CHECK(0 <= job.rank && job.rank < job.num_ranks && is_tensor_name(job.token), "rank {} of {}, token {}",
              job.rank, job.num_ranks, job.token);
  const int64_t begin_ns = now_ns();
  const CheckpointFolder checkpoints(job.folder);
  const fs::path folder = checkpoints.temporary(job.state.step, job.token);
  SaveOutcome outcome;
  for (const Slice& slice : slices) outcome.bytes += slice.size_bytes();
  for (int64_t now = begin_ns; now < begin_ns + job.takes_ns && !(job.give_up && *job.give_up); now = now_ns())
    sleep_until(std::min(begin_ns + job.takes_ns, now + kLookNs));
  if (job.rank == 0) {
    run_rank_0(job, checkpoints, folder, slices, outcome);
  } else {
    try {
      write_own_part(job, folder, slices);
      outcome.ok = true;
    } catch (const std::exception& error) {
      set_problem(outcome, error);
      leave_failure(job, folder, outcome);
    }
  }
  outcome.seconds = seconds_since(begin_ns);
  return outcome;
}

std::optional<std::string> free_space_problem(const fs::path& folder, int64_t state_bytes) {
  constexpr int64_t kMarginBytes = 16 << 20;
  try {
    make_folder(folder);
    CheckpointFolder(folder).remove_leftovers({});  // which may be what fills the disk
    require_free_bytes(folder, state_bytes + state_bytes / 64 + kMarginBytes);
    return std::nullopt;
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace trine
