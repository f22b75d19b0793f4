#include "base/cgroup.h"

#include <fstream>
#include <system_error>

namespace trine {
namespace {

using std::filesystem::path;

bool is_folder(const path& folder) {
  std::error_code ignored;
  return std::filesystem::is_directory(folder, ignored);
}

std::vector<path> from_group_to_mount(const path& mount, path group) {
  std::vector<path> folders;
  for (group = group.relative_path();; group = group.parent_path()) {
    const path folder = group.empty() ? mount : mount / group;
    if (is_folder(folder)) folders.push_back(folder);
    if (group.empty()) return folders;
  }
}

}  // namespace

std::vector<ControlGroups> control_groups(const std::string& controller, const path& root) {
  const path mounts = root / "sys/fs/cgroup";
  std::vector<ControlGroups> all;
  std::ifstream lines(root / "proc/self/cgroup");  // "4:cpu,cpuacct:/group" or "0::/group"
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), group = line.substr(second + 1);
    if (controllers.empty()) {
      const path beside_version_1 = mounts / "unified";
      all.push_back({2, from_group_to_mount(is_folder(beside_version_1) ? beside_version_1 : mounts, group)});
    } else if (("," + controllers + ",").find("," + controller + ",") != std::string::npos) {
      const path together = mounts / controllers, alone = mounts / controller;
      all.push_back({1, from_group_to_mount(is_folder(together) ? together : alone, group)});
    }
  }
  return all;
}

}  // namespace trine
