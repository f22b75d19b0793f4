// How many cores the ranks of a host may keep busy: those that they are bound to, by whatever launcher, and no more
// than a container's quota of CPU time pays for.
#pragma once

#include <bitset>
#include <filesystem>
#include <optional>
#include <span>
#include <sys/types.h>

#include "comm/launch.h"

namespace trine {

class MpiSession;

using CpuSet = std::bitset<8192>;  // the kernel's largest number of cores

// What `process` (0: this one) may run on; every online core where the kernel does not say.
CpuSet allowed_cpus(pid_t process = 0);

// The cores whose time the control groups of this process pay for (cpu.max, or cpu.cfs_quota_us of version 1; the
// tightest of the own group and those above it); nullopt: no quota. `root` is where proc and sys are found.
std::optional<double> cpu_quota(const std::filesystem::path& root = "/");

// mpirun of Open MPI binds a rank that is alone on its host to one core, unasked: this process may then run on what
// its mpirun may run on. A binding that somebody asked for stays: mpirun's --bind-to, --cpu-set, PE=N or rank file,
// Slurm's, taskset's. To be called before any thread starts, MPI's too.
void undo_default_binding(const Launch& launch);

// The cores of which each of a host's ranks has an equal part, when a core that several may run on is divided among
// them: as many as the rank with the least can have, times the ranks. At least 1. `quota` is that of all together.
int usable_cores(std::span<const CpuSet> ranks, std::optional<double> quota);

struct HostCores {
  int ranks = 1;  // of this host
  int cores = 1;  // that they may keep busy together
};
// Of this host. Collective over the ranks of `session`; nullptr: this process is alone.
HostCores host_cores(MpiSession* session);

}  // namespace trine
