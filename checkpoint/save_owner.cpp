#include "checkpoint/save_owner.h"

#include <cerrno>
#include <random>
#include <unistd.h>

#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/file_io.h"
#include "checkpoint/manifest.h"
#include "checkpoint/run_config.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMaxOwnerBytes = 8192;

bool is_own_folder_of(const fs::path& saves, const fs::path& run) { return same_place(saves, run / "checkpoints"); }

// The run whose folder "checkpoints" this is, if there is such a run.
std::optional<fs::path> run_around(const fs::path& saves) {
  const fs::path clean = (fs::absolute(saves) / "").lexically_normal().parent_path();
  const fs::path run = clean.parent_path();
  const bool is_run =
      clean.filename() == "checkpoints" && (is_there(run / "config.json") || is_there(run / "metrics.jsonl"));
  return is_run ? std::optional(run) : std::nullopt;
}

// What the file says. Nothing: it is not there; an empty path: it is no such file, and so nobody's.
std::optional<fs::path> read_owner(const fs::path& saves) {
  const PathKind kind = kind_of(saves / kOwnerFile);
  if (kind == PathKind::kNothing) return std::nullopt;
  if (kind != PathKind::kFile) return fs::path();
  const std::string text = read_small_file(saves / kOwnerFile, kMaxOwnerBytes);
  const size_t end = text.find('\n');
  const fs::path run = text.substr(0, end);
  return end != std::string::npos && run.is_absolute() ? run : fs::path();
}

std::optional<fs::path> saver_of_newest(const fs::path& saves) {
  const std::vector<Candidate> all = CheckpointFolder(saves).candidates();
  require_readable(all);
  for (const Candidate& candidate : all) {
    if (!candidate.problem.empty()) continue;
    const nlohmann::json config = load_manifest(candidate.path).config;
    const auto out = config.find("out");
    if (out != config.end() && out->is_string() && *out != "") return fs::path(out->get<std::string>());
    return std::nullopt;
  }
  return std::nullopt;
}

// `run` is what became of `owner`: that is gone, and the run says that it saves here.
bool has_moved(const fs::path& owner, const fs::path& run, const fs::path& saves) {
  const auto said = RunConfig(run).saves();
  return !is_there(owner) && said && same_place(*said, saves);
}

// Appears whole, and only if there is none.
void write_owner_once(const fs::path& saves, const std::string& text) {
  const fs::path temporary = saves / fmt::format("{}-{:08x}", kOwnerTemporary, std::random_device()());
  {
    File file = File::create(temporary);
    file.write(0, std::as_bytes(std::span(text)));
    file.sync();
  }
  const bool linked = ::link(temporary.c_str(), (saves / kOwnerFile).c_str()) == 0;
  const int code = errno;
  // Some file systems know no second name of a file.
  if (!linked && code != EEXIST && !is_there(saves / kOwnerFile)) return rename_path(temporary, saves / kOwnerFile);
  remove_file(temporary);
}

}  // namespace

std::optional<fs::path> owner_of(const fs::path& saves) {
  if (const auto run = run_around(saves)) return run;
  if (const auto run = read_owner(saves); run && !run->empty()) return run;
  return saver_of_newest(saves);
}

void check_owner(const fs::path& saves, const fs::path& run) {
  if (is_own_folder_of(saves, run)) return;
  const auto owner = owner_of(saves);
  if (!owner || same_place(*owner, run) || has_moved(*owner, run, saves)) return;
  throw ConfigError(fmt::format(
      "[--save] {} is where the run {} saves, not {}: each would remove the other's checkpoints. Name another "
      "folder, or go on with that run (--out {}), or from its checkpoints (--resume {}).",
      saves.string(), owner->string(), run.string(), owner->string(), saves.string()));
}

void check_unused(const fs::path& saves) {
  if (!CheckpointFolder(saves).any_completed()) return;
  throw ConfigError(
      fmt::format("[--save] {} holds checkpoints already, and this run begins anew. Add --resume to go on "
                  "from them, or name another folder.",
                  saves.string()));
}

void claim(const fs::path& saves, const fs::path& run, bool taken_over) {
  if (is_own_folder_of(saves, run)) return;
  const auto owner = read_owner(saves);  // before it is judged: one that appears later is met by its name
  if (!taken_over) check_owner(saves, run);
  make_folder(saves);
  const std::string text = fs::absolute(run).lexically_normal().string() + "\n";
  if (owner && !owner->empty() && same_place(*owner, run)) return;
  owner ? write_whole_file(saves / kOwnerFile, text) : write_owner_once(saves, text);
  sync_folder(saves);
  check_owner(saves, run);
}

}  // namespace trine
