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
#include "plan/resume.h"

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
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (const auto name = parse_name(it->path().filename())) found.emplace_back(it->path(), *name);
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return found;
}

}  // namespace

fs::path checkpoints_of(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error))
    throw DataError(fmt::format("[checkpoint] {} is no folder. Name a run folder, its checkpoints or one of them.",
                                folder.string()));
  const fs::path saves = folder_of_saves(folder);
  if (fs::is_directory(saves, error)) return saves;
  if (saves == folder / "checkpoints") return folder;
  throw DataError(
      fmt::format("[checkpoint] {} saves to {}, and there is no such folder. Run this where the training was "
                  "started, or name the folder of checkpoints.",
                  folder.string(), saves.string()));
}

std::vector<Candidate> CheckpointFolder::candidates() const {
  std::vector<Candidate> list;
  for (const auto& [path, name] : step_folders(path_)) {
    if (!name.suffix.empty() && !name.suffix.starts_with(kReplaced)) continue;
    Candidate candidate{path, name.step, -1, {}};
    try {
      candidate.sequence = load_manifest(path).sequence;
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

bool CheckpointFolder::ever_begun() const { return !step_folders(path_).empty(); }

std::string CheckpointFolder::check_whole(const fs::path& path) {
  try {
    Checkpoint(path).check_files();
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

Chosen CheckpointFolder::choose(const std::vector<Candidate>& candidates, const Check& check) const {
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

int64_t CheckpointFolder::next_sequence() const {
  int64_t last = 0;
  for (const Candidate& candidate : candidates()) last = std::max(last, candidate.sequence);
  return last + 1;
}

void CheckpointFolder::remove_leftovers(const fs::path& except) const {
  for (const fs::path& path : leftovers())
    if (path != except) remove_folder(path, kManifestFile);
}

void CheckpointFolder::rotate(int keep, const std::string& token) const {
  for (const Candidate& candidate : candidates()) {
    if (candidate.problem.empty() && keep-- <= 0) remove(candidate.path, candidate.step, token);
  }
}

void CheckpointFolder::remove_replaced(const std::string& token) const {
  for (const auto& [path, name] : step_folders(path_)) {
    std::error_code ignored;
    if (name.suffix.starts_with(kReplaced) && fs::exists(committed(name.step), ignored))
      remove(path, name.step, token);
  }
}

// Renamed first, so that no reader meets a checkpoint half gone.
void CheckpointFolder::remove(const fs::path& checkpoint, int64_t step, const std::string& token) const {
  const fs::path doomed = committed(step).string() + std::string(kDeleted) + token;
  rename_path(checkpoint, doomed);
  remove_folder(doomed, kManifestFile);
}

std::optional<CheckpointPlace> find_checkpoints(const std::filesystem::path& given) {
  std::error_code ignored;
  std::filesystem::path path = (given / "").lexically_normal().parent_path();  // without a slash at the end
  if (path.empty()) path = std::filesystem::current_path(ignored);             // it is "."
  const auto has = [&](const char* name) { return std::filesystem::exists(path / name, ignored); };
  const bool holds_checkpoints = CheckpointFolder(path).ever_begun();
  // One without its manifest is a broken checkpoint, unless somebody gave that name to a Hugging Face folder or a
  // run.
  const bool named_so = path.filename().string().starts_with("step-") && !has("config.json") && !holds_checkpoints;
  if (has(kManifestFile) || named_so) return CheckpointPlace{path.parent_path(), path};
  if (!std::filesystem::is_directory(path, ignored)) return std::nullopt;
  const std::filesystem::path checkpoints = checkpoints_of(path);
  if (checkpoints == path && !holds_checkpoints) return std::nullopt;
  return CheckpointPlace{checkpoints, {}};
}

}  // namespace trine
