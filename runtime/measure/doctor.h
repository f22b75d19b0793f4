// What is wrong with a machine or a launch, in plain sentences, each with what to do. Nothing to say: nothing
// wrong.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "comm/launch.h"

namespace trine {

using Findings = std::vector<std::string>;

std::string cpu_name(const std::filesystem::path& root = "/");  // "AMD EPYC 9R14"; "CPU" where nobody says

// `cores`: what the ranks of this host may keep busy; `online`: what it has.
Findings launch_findings(const Launch& launch, int ranks_on_host, int cores, int online, int threads);
// `hosts` by rank; ranks of a tp group are neighbours.
Findings group_findings(const std::vector<std::string>& hosts, int tp, int pp);
// Governor and clock of the cores that stand below `root`/sys/devices/system/cpu.
Findings clock_findings(const std::filesystem::path& root = "/");
// NVIDIA's devices below `root`/sys/bus/pci/devices whose link is narrower or slower than what both ends can. An
// idle GPU slows its link down; so only the width counts, and the speed where it is below generation 3 at the most.
Findings pcie_findings(const std::filesystem::path& root = "/");
bool has_nvidia_device(const std::filesystem::path& root = "/");
// Of libraries that GPUs need, where this machine has one. `built_with_cuda`: this program.
Findings library_findings(bool built_with_cuda);
// Writes `mib` into a file in `folder`, which is removed again, down to the disk. Bytes per second; IoError.
double disk_bytes_per_s(const std::filesystem::path& folder, int mib);
Findings disk_findings(double bytes_per_s, const std::filesystem::path& folder);
// Of the fixed product: its slowest mean over its quickest time.
Findings drift_findings(double slowest_over_quickest);
// Of the fixed exchange between ranks, likewise.
Findings exchange_findings(double slowest_over_quickest);

}  // namespace trine
