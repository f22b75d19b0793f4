#include "checkpoint/checkpoint_folder.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <tuple>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/file_io.h"
#include "checkpoint/manifest.h"
#include "checkpoint/run_config.h"
#include "checkpoint/save_owner.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kPrefix = "step-", kTemporary = ".tmp-", kReplaced = ".old-", kDeleted = ".del-";

struct StepName {
  int64_t step = 0;
  std::string suffix;  // "" or ".tmp-TOKEN"
};

std::optional<StepName> parse_name(const std::string& name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  StepName parsed;
  const char* begin = name.data() + kPrefix.size();
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), parsed.step);
  if (error != std::errc{} || end - begin < 6 || parsed.step < 0) return std::nullopt;
  parsed.suffix = end;
  return parsed;
}

// The folders named step-..., in the order of their names.
std::vector<std::pair<fs::path, StepName>> step_folders(const fs::path& folder) {
  std::vector<std::pair<fs::path, StepName>> found;
  for (const std::string& entry : names_in(folder).value_or(std::vector<std::string>()))
    if (const auto name = parse_name(entry)) found.emplace_back(folder / entry, *name);
  return found;
}

bool is_committed(const StepName& name) { return name.suffix.empty() || name.suffix.starts_with(kReplaced); }

}  // namespace

fs::path checkpoints_of(const fs::path& folder) {
  if (!is_folder(folder))
    throw DataError(fmt::format("[checkpoint] {} is no folder. Name a run folder, its checkpoints or one of them.",
                                folder.string()));
  const RunConfig config(folder);
  const fs::path own = folder / "checkpoints", saves = config.saves().value_or(own);
  if (is_folder(saves)) return saves;
  if (saves == own && !config.damaged()) return folder;
  if (saves == own) throw config.unknown_saves();
  throw DataError(
      fmt::format("[checkpoint] {} saves to {}, and there is no such folder. Run this where the training was "
                  "started, or name the folder of checkpoints.",
                  folder.string(), saves.string()));
}

std::vector<Candidate> CheckpointFolder::candidates() const {
  std::vector<Candidate> list;
  for (const auto& [path, name] : step_folders(path_)) {
    if (!is_committed(name)) continue;
    Candidate candidate{.path = path, .step = name.step, .problem = {}};
    try {
      candidate.sequence = load_manifest(path).sequence;
    } catch (const IoError& error) {
      candidate.problem = error.what();
      candidate.unreadable = true;
    } catch (const Error& error) {
      candidate.problem = error.what();
    }
    list.push_back(std::move(candidate));
  }
  std::sort(list.begin(), list.end(), [](const Candidate& a, const Candidate& b) {
    return std::tuple(a.problem.empty(), -a.sequence, -a.step) <
           std::tuple(b.problem.empty(), -b.sequence, -b.step);
  });
  return list;
}

std::vector<fs::path> CheckpointFolder::leftovers() const {
  std::vector<fs::path> list;
  for (const auto& [path, name] : step_folders(path_))
    if (name.suffix.starts_with(kTemporary) || name.suffix.starts_with(kDeleted)) list.push_back(path);
  return list;
}

bool CheckpointFolder::any_completed() const {
  return std::ranges::any_of(step_folders(path_), [](const auto& entry) { return is_committed(entry.second); });
}

bool CheckpointFolder::ever_begun() const { return !step_folders(path_).empty(); }

std::string CheckpointFolder::check_whole(const fs::path& path) {
  try {
    Checkpoint(path).check_files();
    return {};
  } catch (const IoError&) {
    throw;
  } catch (const Error& error) {
    return error.what();
  }
}

void require_readable(const std::vector<Candidate>& candidates) {
  for (const Candidate& candidate : candidates)
    if (candidate.unreadable)
      throw IoError(
          fmt::format("{} It may be the newest checkpoint. Try again, or name another one: --resume {}/step-N.",
                      candidate.problem, candidate.path.parent_path().string()));
}

Chosen CheckpointFolder::choose(const std::vector<Candidate>& candidates, const Check& check) const {
  require_readable(candidates);
  Chosen chosen;
  for (const Candidate& candidate : candidates) {
    const std::string problem = candidate.problem.empty() ? check(candidate.path) : candidate.problem;
    if (problem.empty()) {
      chosen.path = candidate.path;
      return chosen;
    }
    chosen.passed_over.push_back(fmt::format("{}: {}", candidate.path.filename().string(), problem));
  }
  std::string reasons;
  for (const std::string& line : chosen.passed_over) reasons += "\n  " + line;
  throw Error(ExitCode::kNoCheckpoint,
              fmt::format("[checkpoint] {}: {}, need one that is whole. Check the path, restore a copy, or start "
                          "anew in another folder.{}",
                          path_.string(),
                          candidates.empty() ? ever_begun() ? "only saves that were cut off" : "no checkpoint"
                                             : fmt::format("none of {} checkpoints is good", candidates.size()),
                          reasons));
}

fs::path CheckpointFolder::committed(int64_t step) const { return path_ / fmt::format("{}{:06}", kPrefix, step); }
fs::path CheckpointFolder::temporary(int64_t step, const std::string& token) const {
  return committed(step).string() + std::string(kTemporary) + token;
}
fs::path CheckpointFolder::replaced(int64_t step, const std::string& token) const {
  return committed(step).string() + std::string(kReplaced) + token;
}

int64_t CheckpointFolder::next_sequence(std::optional<int64_t> known) const {
  const std::vector<Candidate> all = candidates();
  if (!known) require_readable(all);
  int64_t last = known.value_or(0);
  for (const Candidate& candidate : all) last = std::max(last, candidate.sequence);
  return last + 1;
}

void CheckpointFolder::remove_leftovers(const fs::path& except) const {
  for (const fs::path& path : leftovers())
    if (path != except) remove_folder(path, kManifestFile);
  for (const std::string& name : names_in(path_).value_or(std::vector<std::string>()))
    if (name.starts_with(kOwnerTemporary)) remove_file(path_ / name);
}

void CheckpointFolder::rotate(int keep, const std::string& token, const Check& check) const {
  for (const Candidate& candidate : candidates()) {
    if (!candidate.problem.empty()) continue;
    if (keep <= 0)
      remove(candidate.path, candidate.step, token);
    else if (check(candidate.path).empty())
      --keep;
  }
}

void CheckpointFolder::remove_replaced(const std::string& token) const {
  for (const auto& [path, name] : step_folders(path_))
    if (name.suffix.starts_with(kReplaced) && is_there(committed(name.step))) remove(path, name.step, token);
}

// Renamed first, so that no reader meets a checkpoint half gone.
void CheckpointFolder::remove(const fs::path& checkpoint, int64_t step, const std::string& token) const {
  const fs::path doomed = committed(step).string() + std::string(kDeleted) + token;
  rename_path(checkpoint, doomed);
  remove_folder(doomed, kManifestFile);
}

std::optional<CheckpointPlace> find_checkpoints(const fs::path& given) {
  fs::path path = (given / "").lexically_normal().parent_path();  // without a slash at the end
  if (path.empty()) path = fs::current_path();                    // it is "."
  if (!is_folder(path)) return std::nullopt;
  const bool holds_checkpoints = CheckpointFolder(path).ever_begun();
  // One without its manifest is a broken checkpoint, unless somebody gave that name to a Hugging
  // Face folder or a run.
  const bool named_so =
      path.filename().string().starts_with("step-") && !is_there(path / "config.json") && !holds_checkpoints;
  if (named_so || is_there(path / kManifestFile)) return CheckpointPlace{path.parent_path(), path};
  const fs::path checkpoints = checkpoints_of(path);
  if (checkpoints == path && !holds_checkpoints) return std::nullopt;
  return CheckpointPlace{checkpoints, {}};
}

}  // namespace trine
