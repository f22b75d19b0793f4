#include "plan/config/named_model.h"

#include <algorithm>
#include <filesystem>
#include <fmt/ranges.h>

#include "base/file_system.h"
#include "base/hub_name.h"
#include "base/text.h"

namespace trine {

NamedModel named_model(const std::string& name, const std::string& where, Problems& problems) {
  if (const Preset* preset = find_preset(name)) return {preset->model, preset->training};
  const std::filesystem::path path = name;
  const bool is_path = is_there(path) || path.has_parent_path() || path.extension() == ".json";
  if (!is_path || name.empty()) {
    const auto guess = nearest(name, preset_names());
    problems.add(where, "--model '{}' is neither a preset ({}) nor a folder or config.json.{}", name,
                 fmt::join(preset_names(), ", "), guess ? fmt::format(" Did you mean {}?", *guess) : "");
    problems.throw_if_any();
  }
  if (const std::string hint = hub_hint(name); !hint.empty())
    throw DataError(fmt::format("[{}] --model {}: no such folder.{} A preset needs no folder: {}.", where, name,
                                hint, fmt::join(preset_names(), ", ")));
  NamedModel named{.model = read_hugging_face_config(path), .training = {}};
  named.training.seq = std::min(named.training.seq, named.model.max_position);
  return named;
}

}  // namespace trine
