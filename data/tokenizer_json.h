// The file tokenizer.json and what may be wrong with it.
#pragma once

#include <filesystem>
#include <fmt/format.h>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"

namespace trine {

// object[member]; a member that is null is as if it were not there. The library's own error for another type.
template <typename T>
T member_or(const nlohmann::json& object, const char* member, T otherwise) {
  const auto it = object.find(member);
  return it == object.end() || it->is_null() ? otherwise : it->get<T>();
}
inline std::string member_or(const nlohmann::json& object, const char* member, const char* otherwise) {
  return member_or(object, member, std::string(otherwise));
}

struct TokenizerFile {
  std::filesystem::path path;

  DataError unsupported(const std::string& what, const nlohmann::json& found) const {
    return DataError(fmt::format(
        "[tokenizer] {}: {} is {}, which is not supported; need BPE as the LLaMA models and GPT-2 have it. "
        "Give the model's SentencePiece tokenizer.model if it has one.",
        path.string(), what, found.dump(-1, ' ', true).substr(0, 120)));
  }
  DataError inconsistent(const std::string& what) const {
    return DataError(fmt::format("[tokenizer] {}: {}. The file is damaged: fetch it again.", path.string(), what));
  }
  // Members that change the ids and that we do not implement must be absent, null, false, 0 or "".
  void require_unset(const nlohmann::json& object, std::initializer_list<const char*> members) const {
    for (const char* member : members) {
      const auto it = object.find(member);
      if (it == object.end() || it->is_null() || *it == false || *it == 0 || *it == "") continue;
      throw unsupported(member, *it);
    }
  }
};

}  // namespace trine
