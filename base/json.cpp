#include "base/json.h"

#include <unordered_set>
#include <vector>

#include "base/error.h"
#include "base/mapped_file.h"

namespace trine {

nlohmann::json parse_json(std::string_view text, const std::filesystem::path& file) {
  using Event = nlohmann::json::parse_event_t;
  std::vector<std::unordered_set<std::string>> keys;  // of the objects that are open, by depth
  std::string duplicate;
  const auto watch = [&](int depth, Event event, nlohmann::json& parsed) {
    if (event == Event::object_start) {
      keys.resize(static_cast<size_t>(depth) + 2);  // resizing down first drops what a closed object left
      keys.back().clear();
    } else if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.at(static_cast<size_t>(depth)).insert(key).second && duplicate.empty()) duplicate = key;
    }
    return true;
  };
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(text, watch);
  } catch (const nlohmann::json::exception& error) {
    throw DataError(fmt::format("[json] {}: {}. The file is damaged or not JSON; write or fetch it again.",
                                file.string(), error.what()));
  }
  if (!duplicate.empty()) {
    throw DataError(fmt::format("[json] {}: the key \"{}\" stands twice in one object, need it once. Remove one.",
                                file.string(), duplicate));
  }
  return json;
}

nlohmann::json read_json_file(const std::filesystem::path& file) {
  const MappedFile mapped(file);
  return parse_json({reinterpret_cast<const char*>(mapped.bytes().data()), mapped.size()}, file);
}

}  // namespace trine
