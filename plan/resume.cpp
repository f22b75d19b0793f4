#include "plan/resume.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"

namespace trine {

namespace fs = std::filesystem;

fs::path folder_of_saves(const fs::path& run) {
  const auto config =
      nlohmann::json::parse(std::ifstream(run / "config.json"), nullptr, /*allow_exceptions=*/false);
  if (config.is_object() && config.contains("save") && config["save"].is_string() && config["save"] != "")
    return config["save"].get<std::string>();
  return run / "checkpoints";
}

namespace {

bool is_run(const fs::path& folder) {
  std::error_code ignored;
  return fs::is_regular_file(folder / "config.json", ignored);
}

bool began_to_save(const fs::path& run) {
  if (!is_run(run)) return false;
  const fs::path checkpoints = folder_of_saves(run);
  std::error_code error;
  return fs::is_directory(checkpoints, error) && !fs::is_empty(checkpoints, error);
}

// Run folders carry the time of their start, so that names sort by age.
std::optional<fs::path> newest_run(const std::string& model) {
  fs::path path = fs::path(model).lexically_normal();
  if (path.filename() == "config.json" || path.filename().empty()) path = path.parent_path();
  const std::string prefix = path.filename().string() + "-";
  std::vector<fs::path> runs;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("runs", error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix) || name.size() <= prefix.size()) continue;
    if (std::isdigit(static_cast<unsigned char>(name[prefix.size()])) && began_to_save(entry.path()))
      runs.push_back(entry.path());
  }
  if (runs.empty()) return std::nullopt;
  return *std::max_element(runs.begin(), runs.end());
}

[[noreturn]] void nothing_there(const std::string& where, const std::string& what) {
  throw Error(
      ExitCode::kNoCheckpoint,
      fmt::format("[--resume] {} {}. Name a run folder or a checkpoint, or leave --resume out to start anew "
                  "(--resume auto does where none was begun).",
                  where, what));
}

}  // namespace

std::string to_text(const std::optional<ResumePoint>& point) {
  if (!point) return {};
  return nlohmann::json{point->run_folder.string(), point->checkpoint.string()}.dump();
}

std::optional<ResumePoint> resume_point_of(const std::string& text) {
  if (text.empty()) return std::nullopt;
  const auto paths = nlohmann::json::parse(text).get<std::vector<std::string>>();
  return ResumePoint{paths.at(0), paths.at(1)};
}

std::optional<ResumePoint> find_resume_point(const std::string& what, const std::string& out,
                                             const std::string& model) {
  if (what != "latest" && what != "auto") {
    fs::path folder = fs::path(what).lexically_normal();
    if (folder.filename().empty()) folder = folder.parent_path();
    if (is_run(folder)) return ResumePoint{folder, {}};
    std::error_code ignored;
    if (!fs::is_directory(folder, ignored)) nothing_there(what, "is no folder");
    const fs::path run = fs::absolute(folder).parent_path().parent_path();
    if (!is_run(run))
      nothing_there(what, "is neither a run folder nor a checkpoint in one (RUN/checkpoints/step-...)");
    return ResumePoint{fs::relative(run), folder};
  }
  if (!out.empty()) {
    if (is_run(out)) {
      if (what == "auto" && !began_to_save(out)) return std::nullopt;
      return ResumePoint{out, {}};
    }
    if (what == "auto") return std::nullopt;
    nothing_there(out, "is no run folder (it has no config.json)");
  }
  if (const auto run = newest_run(model)) return ResumePoint{*run, {}};
  if (what == "auto") return std::nullopt;
  nothing_there(fmt::format("runs/{}-*", model), "has no run that began to save");
}

}  // namespace trine
