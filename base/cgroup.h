// Where the limits of this process' control groups stand: in containers, Slurm jobs and systemd's services.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace trine {

struct ControlGroups {
  int version = 2;                             // 1 or 2, which name their files differently
  std::vector<std::filesystem::path> folders;  // of the own group, then of those above it, as far as they are seen
};

// The groups that `controller` ("memory", "cpu") limits this process by; one entry for each version that is
// mounted. In a container the path of the own group may be the host's: folders that do not exist here are left out,
// down to the mount, which then is the container's own group. `root` is where proc and sys are found.
std::vector<ControlGroups> control_groups(const std::string& controller, const std::filesystem::path& root = "/");

}  // namespace trine
