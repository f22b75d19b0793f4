#include "comm/cores.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sched.h>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

#include "base/cgroup.h"
#include "comm/mpi/mpi_session.h"

namespace trine {
namespace {

using std::filesystem::path;
using namespace std::string_view_literals;

// As the kernel writes it down.
struct CpuMask {
  static constexpr size_t kBits = 8 * sizeof(unsigned long);
  unsigned long words[CpuSet().size() / kBits] = {};

  cpu_set_t* get() { return reinterpret_cast<cpu_set_t*>(words); }
};

std::optional<double> quota_of(const ControlGroups& groups, const path& folder) {
  double quota = 0, period = 0;  // "max" and -1 are none
  if (groups.version == 1) {
    std::ifstream(folder / "cpu.cfs_quota_us") >> quota;
    std::ifstream(folder / "cpu.cfs_period_us") >> period;
  } else {
    std::ifstream(folder / "cpu.max") >> quota >> period;
  }
  return quota > 0 && period > 0 ? std::optional(quota / period) : std::nullopt;
}

std::string read_all(const path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The mpirun of this rank, or its daemon on this host: the nearest process above that is no rank itself, as scripts
// between the two are. nullopt where they cannot be looked at.
std::optional<pid_t> launcher_process() {
  pid_t process = ::getppid();
  while (process > 1) {
    const path folder = path("/proc") / std::to_string(process);
    const std::string environment = read_all(folder / "environ");
    if (environment.empty()) return std::nullopt;
    if (('\0' + environment).find("\0OMPI_COMM_WORLD_RANK="sv) == std::string::npos) return process;
    const std::string status = read_all(folder / "status");
    const size_t parent = status.find("PPid:");
    if (parent == std::string::npos) return std::nullopt;
    process = std::atoi(status.c_str() + parent + 5);
  }
  return std::nullopt;
}

// mpirun hands its options down as variables.
bool binding_was_asked_for() {
  for (const char* option : {"hwloc_base_binding_policy", "hwloc_base_cpu_set", "hwloc_base_cpu_list",
                             "hwloc_base_bind_to_core", "hwloc_base_bind_to_socket", "rmaps_base_cpus_per_rank",
                             "rmaps_base_cpus_per_proc", "rmaps_rank_file_path", "orte_rankfile"})
    if (std::getenv((std::string("OMPI_MCA_") + option).c_str()) != nullptr) return true;
  const char* mapping = std::getenv("OMPI_MCA_rmaps_base_mapping_policy");
  return mapping != nullptr && std::string_view(mapping).find("PE=") != std::string_view::npos;
}

}  // namespace

CpuSet allowed_cpus(pid_t process) {
  CpuSet cpus;
  CpuMask mask;
  if (::sched_getaffinity(process, sizeof mask, mask.get()) != 0) {
    const long online = ::sysconf(_SC_NPROCESSORS_ONLN);
    for (size_t cpu = 0; cpu < static_cast<size_t>(std::max(online, 1L)) && cpu < cpus.size(); ++cpu) cpus.set(cpu);
    return cpus;
  }
  for (size_t cpu = 0; cpu < cpus.size(); ++cpu)
    cpus[cpu] = (mask.words[cpu / CpuMask::kBits] >> (cpu % CpuMask::kBits) & 1) != 0;
  return cpus;
}

std::optional<double> cpu_quota(const path& root) {
  std::optional<double> tightest;
  for (const ControlGroups& groups : control_groups("cpu", root))
    for (const path& folder : groups.folders)
      if (const auto quota = quota_of(groups, folder)) tightest = std::min(tightest.value_or(*quota), *quota);
  return tightest;
}

void undo_default_binding(const Launch& launch) {
  const bool by_open_mpi = std::getenv("OMPI_COMM_WORLD_RANK") != nullptr;
  if (!launch.launched || !by_open_mpi || launch.ranks_on_host != 1 || binding_was_asked_for()) return;
  const auto launcher = launcher_process();
  CpuMask mask;
  // Where it cannot be read or set, the binding stays.
  if (launcher && ::sched_getaffinity(*launcher, sizeof mask, mask.get()) == 0)
    ::sched_setaffinity(0, sizeof mask, mask.get());
}

int usable_cores(std::span<const CpuSet> ranks, std::optional<double> quota) {
  const auto num_ranks = static_cast<double>(ranks.size());
  CpuSet all;
  for (const CpuSet& rank : ranks) all |= rank;
  std::vector<double> parts(ranks.size());
  for (size_t cpu = 0; cpu < all.size(); ++cpu) {
    if (!all[cpu]) continue;
    const auto sharers = std::ranges::count_if(ranks, [&](const CpuSet& rank) { return rank[cpu]; });
    for (size_t i = 0; i < ranks.size(); ++i)
      if (ranks[i][cpu]) parts[i] += 1.0 / static_cast<double>(sharers);
  }
  double least = *std::ranges::min_element(parts);
  if (quota) least = std::min(least, *quota / num_ranks);
  // Whole cores: threads that wait for each other lose more by a fraction too many than by one too few.
  constexpr double kRounding = 1e-6;
  return std::max(1, static_cast<int>(std::floor(least + kRounding) * num_ranks));
}

HostCores host_cores(MpiSession* session) {
  struct Own {
    CpuSet cpus;
    double quota;  // 0: none
  };
  const Own own{allowed_cpus(), cpu_quota().value_or(0)};
  const std::vector<Own> ranks = session ? session->gather_on_host(own) : std::vector{own};
  std::vector<CpuSet> cpus;
  std::optional<double> quota;
  for (const Own& rank : ranks) {
    cpus.push_back(rank.cpus);
    if (rank.quota > 0) quota = std::min(quota.value_or(rank.quota), rank.quota);
  }
  return {static_cast<int>(ranks.size()), usable_cores(cpus, quota)};
}

}  // namespace trine
