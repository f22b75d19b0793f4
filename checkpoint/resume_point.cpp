#include "checkpoint/resume_point.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "base/file_system.h"
#include "base/json.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/manifest.h"
#include "checkpoint/run_config.h"
#include "checkpoint/save_owner.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void nothing_there(const std::string& where, const std::string& what) {
  throw Error(
      ExitCode::kNoCheckpoint,
      fmt::format("[--resume] {} {}. Name a run folder or a checkpoint, or leave --resume out to start anew "
                  "(--resume auto does where no checkpoint was completed).",
                  where, what));
}

bool completed(const fs::path& saves) { return CheckpointFolder(saves).any_completed(); }

// Of a run folder, or else of the checkpoint that is wanted, or of the newest.
void read_config(const RunConfig* run, ResumePoint& point) {
  if (auto config = run == nullptr ? std::nullopt : run->whole()) {
    point.config = std::move(*config);
    point.config_file = run->path();
    return;
  }
  fs::path checkpoint = point.checkpoint;
  if (checkpoint.empty()) {
    const CheckpointFolder folder(point.saves);
    const std::vector<Candidate> all = folder.candidates();
    require_readable(all);
    const auto good = std::ranges::find_if(all, [](const Candidate& c) { return c.problem.empty(); });
    checkpoint = good != all.end() ? good->path : folder.newest_valid().path;  // which says what is wrong with each
  }
  try {
    point.config = load_manifest(checkpoint).config;
  } catch (const IoError&) {
    throw;
  } catch (const DataError& error) {
    throw Error(ExitCode::kNoCheckpoint, error.what());
  }
  point.config_file = checkpoint / kManifestFile;
  if (run != nullptr)
    point.warning = fmt::format("{} is {}: the flags are those of {}.", run->path().string(),
                                run->missing() ? "missing" : "damaged", point.config_file.string());
}

// And from now on the run saves where its checkpoints were found, as that is called from here.
void find_config(const RunConfig* run, ResumePoint& point) {
  read_config(run, point);
  if (!point.run_folder.empty() && !same_place(point.saves, point.run_folder / "checkpoints"))
    point.config["save"] = point.saves.string();
}

// As short as it can be said here.
fs::path from_here(const fs::path& path) {
  const fs::path relative = path.lexically_relative(fs::current_path());
  return relative.empty() || *relative.begin() == ".." ? path : relative;
}

// The run that saves to this folder goes on; in a new run folder if nobody knows its own.
ResumePoint in_saves(const fs::path& saves, const fs::path& checkpoint) {
  ResumePoint point{.saves = saves, .checkpoint = checkpoint};
  // A relative one is what a checkpoint says, as its training saw it.
  if (const auto owner = owner_of(saves); owner && owner->is_absolute()) point.run_folder = from_here(*owner);
  const std::optional<RunConfig> run =
      point.run_folder.empty() ? std::nullopt : std::optional<RunConfig>(point.run_folder);
  find_config(run && !run->missing() ? &*run : nullptr, point);
  return point;
}

// Nothing: it has no completed checkpoint.
std::optional<ResumePoint> in_run(const fs::path& folder, const std::string& save) {
  const RunConfig config(folder);
  std::vector<fs::path> places;
  if (!save.empty()) places.emplace_back(save);
  if (const auto said = config.saves()) places.push_back(*said);
  places.push_back(folder / "checkpoints");
  for (const fs::path& saves : places) {
    if (!completed(saves)) continue;
    check_owner(saves, folder);
    ResumePoint point{.run_folder = folder, .saves = saves};
    find_config(&config, point);
    return point;
  }
  if (config.damaged() && save.empty()) throw config.unknown_saves();
  return std::nullopt;
}

// A place by its name.
ResumePoint at(const std::string& what) {
  fs::path folder = fs::path(what).lexically_normal();
  if (folder.filename().empty()) folder = folder.parent_path();
  if (!is_folder(folder)) nothing_there(what, "is no folder");
  const auto place = find_checkpoints(folder);
  if (place && !place->checkpoint.empty())
    return in_saves(folder.has_parent_path() ? folder.parent_path() : fs::path("."), folder);
  if (const RunConfig config(folder); !config.missing() || completed(folder / "checkpoints")) {
    if (auto point = in_run(folder, {})) return std::move(*point);
    nothing_there(what, "is a run that completed no checkpoint");
  }
  if (completed(folder)) return in_saves(folder, {});
  nothing_there(what, "is neither a run folder, a checkpoint nor a folder of checkpoints");
}

// Run folders carry the time of their start, so that names sort by age.
std::optional<ResumePoint> in_newest_run(const std::string& model) {
  fs::path path = fs::path(model).lexically_normal();
  if (path.filename() == "config.json" || path.filename().empty()) path = path.parent_path();
  const std::string prefix = path.filename().string() + "-";
  std::vector<std::string> names = names_in("runs").value_or(std::vector<std::string>());
  std::ranges::reverse(names);
  for (const std::string& name : names) {
    if (!name.starts_with(prefix) || name.size() <= prefix.size()) continue;
    if (!std::isdigit(static_cast<unsigned char>(name[prefix.size()])) || !is_folder(fs::path("runs") / name))
      continue;
    if (auto point = in_run(fs::path("runs") / name, {})) return point;
  }
  return std::nullopt;
}

}  // namespace

std::optional<ResumePoint> find_resume_point(const ResumeWish& wish) {
  std::optional<ResumePoint> point;
  std::string where = wish.out;
  if (wish.what != "latest" && wish.what != "auto") {
    point = at(wish.what);
    if (!wish.out.empty() && !point->run_folder.empty() && same_place(wish.out, point->run_folder))
      point->run_folder = wish.out;
  } else if (!wish.out.empty()) {
    point = in_run(wish.out, wish.save);
  } else if (!wish.save.empty() && completed(wish.save)) {
    point = in_saves(wish.save, {});
  } else {
    point = in_newest_run(wish.model);
    where = fmt::format("runs/{}-*", wish.model);
  }
  if (!point && wish.what == "latest") nothing_there(where, "has no completed checkpoint");
  return point;
}

std::string to_text(const std::optional<ResumePoint>& point) {
  if (!point) return "null";
  const nlohmann::json fields = {point->run_folder.string(),  point->saves.string(),
                                 point->checkpoint.string(),  point->config,
                                 point->config_file.string(), point->warning};
  return fields.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::optional<ResumePoint> resume_point_of(const std::string& text) {
  const auto fields = parse_json(text);
  if (fields.is_null()) return std::nullopt;
  const auto at = [&](size_t i) { return fields[i].get<std::string>(); };
  return ResumePoint{.run_folder = at(0),
                     .saves = at(1),
                     .checkpoint = at(2),
                     .config = fields[3],
                     .config_file = at(4),
                     .warning = at(5)};
}

}  // namespace trine
