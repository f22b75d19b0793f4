#include "base/hub_name.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fmt/core.h>

namespace trine {
namespace {

// "owner/name" of "owner/name" and of "https://host/owner/name/tree/main"; empty if `path` is neither.
std::string repository(std::string path) {
  if (const size_t scheme = path.find("://"); scheme != std::string::npos) {
    const size_t owner = path.find('/', scheme + 3);
    if (owner == std::string::npos) return {};
    path = path.substr(owner + 1);
    const size_t name = path.find('/');
    path = path.substr(0, name == std::string::npos ? name : path.find_first_of("/?#", name + 1));
  }
  const auto fits = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.' || c == '/';
  };
  const size_t slash = path.find('/');
  const bool two_parts = std::count(path.begin(), path.end(), '/') == 1 && slash > 0 && slash + 1 < path.size();
  const std::string extension = std::filesystem::path(path).extension();
  const bool file = extension == ".json" || extension == ".model" || extension == ".safetensors";
  return two_parts && !file && path[0] != '.' && std::all_of(path.begin(), path.end(), fits) ? path : "";
}

}  // namespace

std::string hub_hint(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) return {};
  const std::string name = repository(path);
  if (name.empty()) return {};
  return fmt::format(
      " Nothing is downloaded here. If it is on the Hugging Face Hub, fetch it with `hf download {} --local-dir "
      "DIR` (a repository with config.json and safetensors; of LLaMA 2 that is one that ends in -hf) and name DIR.",
      name);
}

}  // namespace trine
