#include "runtime/job/run_folder.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/file_system.h"
#include "base/input_file.h"
#include "base/json.h"
#include "trace/trace.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

bool has_entry(const fs::path& folder, const auto& wanted) {
  const auto names = is_folder(folder) ? names_in(folder) : std::nullopt;
  return names && std::ranges::any_of(*names, wanted);
}

// What a run writes has the names of flags; a model's config.json, which has the same name, has none of these. An
// empty object is nobody's loss.
enum class ConfigKind { kMissing, kRun, kDamaged, kOther };
ConfigKind config_kind(const fs::path& path) {
  if (!is_taken(path)) return ConfigKind::kMissing;
  if (!is_file(path)) return ConfigKind::kDamaged;
  try {
    const nlohmann::json json = parse_json(read_text_file(path));
    const bool is_run =
        json.is_object() && (json.empty() || (json.contains("global-batch") && json.contains("micro-batch")));
    return is_run ? ConfigKind::kRun : ConfigKind::kOther;
  } catch (const JsonError&) {
    return ConfigKind::kDamaged;
  }
}

bool has_metrics(const fs::path& path) { return beginning_of(path, 12).starts_with("{\"version\":"); }

fs::path without_slash(const fs::path& path) {
  if (path.empty()) throw ConfigError("[run folder] its name is empty. Give --out a folder.");
  const fs::path clean = (path / "").lexically_normal().parent_path();
  return clean.empty() ? fs::path(".") : clean;
}

[[noreturn]] void cannot_be_made(const fs::path& path, const std::string& reason) {
  throw DataError(fmt::format("[run folder] {} cannot be made: {}. Choose another --out, or mend that folder.",
                              path.string(), reason));
}

// False if it was there already.
bool make(const fs::path& path) {
  std::error_code error;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), error);
  if (error) cannot_be_made(path, error.message());
  if (::mkdir(path.c_str(), 0777) == 0) return true;
  if (errno != EEXIST) cannot_be_made(path, std::strerror(errno));
  return false;
}

}  // namespace

fs::path RunFolder::traces(int64_t first_step) const {
  fs::path folder = path_ / "trace";
  return first_step > 1 ? folder / fmt::format("from-step-{:06}", first_step) : folder;
}

fs::path RunFolder::trace(int rank, int64_t first_step, std::string_view format) const {
  return traces(first_step) / fmt::format("{}.{}", rank_name(rank), format);
}

void RunFolder::write_config(std::string_view json) const {
  if (config_kind(config()) == ConfigKind::kOther)
    throw ConfigError(fmt::format(
        "[run folder] {} is not a run's: nothing is written over it. Choose another --out.", config().string()));
  AtomicFile file(config());
  file.write(json);
  file.commit();
}

void RunFolder::remove_traces(int64_t first_step) const {
  const fs::path folder = traces(first_step);
  std::error_code error;
  if (!fs::is_directory(fs::symlink_status(folder, error))) return;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename();
    if (name.starts_with("rank-") && (name.ends_with(".json") || name.ends_with(".json.gz")))
      ::unlink(it->path().c_str());
  }
}

FolderKind folder_kind(const fs::path& path) {
  const PathKind kind = kind_of(path);
  if (kind == PathKind::kNothing && !is_taken(path)) return FolderKind::kMissing;
  if (kind != PathKind::kFolder) return FolderKind::kOther;
  const auto names = names_in(path);
  if (!names || names->empty()) return FolderKind::kEmpty;
  const fs::path lock = path / "lock";
  if (*names == std::vector<std::string>{"lock"} && is_file(lock) && InputFile(lock).size() == 0)
    return FolderKind::kEmpty;  // of one killed right then
  const RunFolder folder(path);
  const ConfigKind config = config_kind(folder.config());
  const bool is_run =
      config == ConfigKind::kRun ||
      (config != ConfigKind::kOther &&
       (has_lock(path) || has_metrics(folder.metrics()) ||
        has_entry(folder.checkpoints(), [](const std::string& name) { return name.starts_with("step-"); })));
  return is_run ? FolderKind::kRun : FolderKind::kOther;
}

void require_for_run(const fs::path& path) {
  if (folder_kind(path) != FolderKind::kOther) return;
  throw ConfigError(
      fmt::format("[run folder] {} is there, is not empty and holds no run: nothing is written into it. "
                  "Choose another --out, a new one or an empty one.",
                  path.string()));
}

LockedFolder LockedFolder::create(const fs::path& wanted) {
  const fs::path clean = without_slash(wanted);
  for (int number = 1;;) {
    const fs::path path = number == 1 ? clean : fs::path(fmt::format("{}-{}", clean.string(), number));
    if (number == 1) require_for_run(path);
    const FolderKind kind = folder_kind(path);
    if (kind == FolderKind::kMissing || kind == FolderKind::kEmpty) {
      const bool made = kind == FolderKind::kMissing && make(path);
      try {
        LockedFolder folder(path, made);
        // Another job may have had it between the look and the lock.
        if (!has_entry(path, [](const std::string& name) { return name != "lock"; })) return folder;
        continue;
      } catch (const LockedError&) {  // it has it now
      }
    }
    ++number;
  }
}

LockedFolder LockedFolder::open(const fs::path& wanted) {
  const fs::path path = without_slash(wanted);
  require_for_run(path);
  return open_any(path);
}

LockedFolder LockedFolder::open_any(const fs::path& wanted) {
  const fs::path path = without_slash(wanted);
  const bool made = make(path);
  return LockedFolder(path, made);
}

LockedFolder::~LockedFolder() {
  if (!lock_) return;  // moved from
  lock_.reset();
  if (made_) ::rmdir(path_.c_str());  // only if it is empty
}

}  // namespace trine
