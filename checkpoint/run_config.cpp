#include "checkpoint/run_config.h"

#include <algorithm>

#include "base/json.h"
#include "checkpoint/file_io.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMaxConfigBytes = 16 << 20;

std::string text_at(const nlohmann::json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

// The folder in which `relative` is `place`, if it can be one.
std::optional<fs::path> base_of(fs::path place, fs::path relative) {
  for (; !relative.empty(); place = place.parent_path(), relative = relative.parent_path())
    if (place.filename() != relative.filename()) return std::nullopt;
  return place;
}

}  // namespace

RunConfig::RunConfig(const fs::path& run) : run_(run) {
  const PathKind kind = kind_of(path());
  if (kind == PathKind::kNothing) return;
  state_ = State::kDamaged;
  if (kind != PathKind::kFile) return;
  const std::string text = read_small_file(path(), kMaxConfigBytes, /*behind_links=*/true);
  try {
    object_ = parse_json(text);
  } catch (const JsonError&) {
    return;
  }
  if (object_.is_object()) state_ = State::kObject;
}

std::optional<nlohmann::json> RunConfig::whole() const {
  if (state_ != State::kObject || !object_.contains("layers") || !object_.contains("steps")) return std::nullopt;
  return object_;
}

std::optional<fs::path> RunConfig::saves() const {
  if (state_ != State::kObject) return std::nullopt;
  const fs::path saves = text_at(object_, "save");
  if (saves.empty()) return std::nullopt;
  if (saves.is_absolute() || is_there(saves)) return saves;
  const fs::path out = fs::path(text_at(object_, "out") + "/").lexically_normal().parent_path();
  const fs::path run = (fs::absolute(run_) / "").lexically_normal().parent_path();
  if (const auto base = out.is_absolute() ? std::nullopt : base_of(run, out); base && is_there(*base / saves))
    return *base / saves;
  return saves;
}

DataError RunConfig::unknown_saves() const {
  return DataError(fmt::format(
      "[checkpoint] {} is damaged, and only it says where the checkpoints of this run are. Name them with "
      "--save or --resume, restore the file, or remove it to begin anew.",
      path().string()));
}

}  // namespace trine
