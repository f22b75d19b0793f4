#include "models/text_ids.h"

#include "base/file_system.h"
#include "base/json.h"

namespace trine {
namespace {

std::vector<int> ids_of(const nlohmann::json& object, const char* member) {
  std::vector<int> ids;
  const auto it = object.find(member);
  if (it == object.end()) return ids;
  for (const auto& id : it->is_array() ? *it : nlohmann::json::array({*it}))
    if (id.is_number_integer() && id >= 0 && id <= INT32_MAX) ids.push_back(id.get<int>());
  return ids;
}

}  // namespace

TextIds read_text_ids(const std::filesystem::path& folder) {
  TextIds ids;
  for (const char* name : {"generation_config.json", "config.json"}) {
    if (!is_file(folder / name)) continue;
    const nlohmann::json object = read_json_file(folder / name);
    if (!object.is_object()) continue;
    if (const auto begins = ids_of(object, "bos_token_id"); ids.begin < 0 && !begins.empty()) ids.begin = begins[0];
    if (ids.ends.empty()) ids.ends = ids_of(object, "eos_token_id");
  }
  return ids;
}

}  // namespace trine
