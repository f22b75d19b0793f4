#include "runtime/measure/doctor.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file_system.h"

namespace trine {
namespace {

namespace fs = std::filesystem;

// The first line of a file of sysfs; empty: there is none.
std::string line_of(const fs::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

// The number that a line begins with: "16.0 GT/s PCIe".
double number_of(const fs::path& file) {
  const std::string line = line_of(file);
  double number = 0;
  std::from_chars(line.data(), line.data() + line.size(), number);
  return number;
}

std::vector<fs::path> nvidia_devices(const fs::path& root) {
  const fs::path folder = root / "sys/bus/pci/devices";
  std::vector<fs::path> devices;
  for (const std::string& name : names_in(folder).value_or(std::vector<std::string>()))
    if (line_of(folder / name / "vendor") == "0x10de" && line_of(folder / name / "class").starts_with("0x03"))
      devices.push_back(folder / name);
  std::ranges::sort(devices);
  return devices;
}

}  // namespace

std::string cpu_name(const fs::path& root) {
  std::ifstream info(root / "proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (const size_t colon = line.find(": "); line.starts_with("model name") && colon != line.npos)
      return line.substr(colon + 2);
  return "CPU";
}

Findings launch_findings(const Launch& launch, int ranks_on_host, int cores, int online, int threads) {
  Findings findings;
  if (ranks_on_host * threads > cores)
    findings.push_back(fmt::format(
        "{} ranks of {} threads share {} cores: each waits for the others. Start fewer ranks, or lower --threads.",
        ranks_on_host, threads, cores));
  if (cores < online)
    findings.push_back(fmt::format(
        "{} of the {} cores of this host may be used: a binding, a container's quota or taskset keeps the others. "
        "{}",
        cores, online,
        launch.launched ? "Pass --bind-to none to mpirun, or give a task more cores (srun --cpus-per-task)."
                        : "Raise the quota, or leave the cores to whom they belong."));
  if (ranks_on_host * threads < cores && launch.of_many())
    findings.push_back(fmt::format("{} of {} cores stay idle. Start more ranks a host, or raise --threads to {}.",
                                   cores - ranks_on_host * threads, cores, cores / ranks_on_host));
  return findings;
}

Findings group_findings(const std::vector<std::string>& hosts, int tp, int pp) {
  Findings findings;
  if (tp < 2) return findings;
  for (size_t first = 0; first + static_cast<size_t>(tp) <= hosts.size(); first += static_cast<size_t>(tp)) {
    const std::set<std::string> of_group(hosts.begin() + static_cast<ptrdiff_t>(first),
                                         hosts.begin() + static_cast<ptrdiff_t>(first) + tp);
    if (of_group.size() < 2) continue;
    findings.push_back(
        fmt::format("The tensor-parallel group of ranks {} to {} is on {} hosts ({}), and talks in every layer. "
                    "Let --tp {} divide "
                    "the ranks of a host{}.",
                    first, first + static_cast<size_t>(tp) - 1, of_group.size(), fmt::join(of_group, ", "), tp,
                    pp > 1 ? ", and let --pp cross hosts" : ", or take --pp between hosts"));
    break;
  }
  return findings;
}

Findings clock_findings(const fs::path& root) {
  const fs::path cpu = root / "sys/devices/system/cpu/cpu0/cpufreq";
  Findings findings;
  const std::string governor = line_of(cpu / "scaling_governor");
  if (governor == "powersave" && line_of(cpu / "scaling_driver") != "intel_pstate")
    findings.push_back(
        "The cores are governed by powersave and run at their lowest clock. Run cpupower frequency-set -g "
        "performance.");
  const double most = number_of(cpu / "cpuinfo_max_freq"), limit = number_of(cpu / "scaling_max_freq");
  if (most > 0 && limit > 0 && limit < 0.9 * most)
    findings.push_back(
        fmt::format("The cores may run at {:.1f} GHz of {:.1f}. Run cpupower frequency-set -u {:.1f}GHz.",
                    limit * 1e-6, most * 1e-6, most * 1e-6));
  return findings;
}

Findings pcie_findings(const fs::path& root) {
  Findings findings;
  for (const fs::path& device : nvidia_devices(root)) {
    const std::string name = device.filename().string();
    const double width = number_of(device / "current_link_width"), most = number_of(device / "max_link_width");
    if (width > 0 && width < most)
      findings.push_back(
          fmt::format("GPU {} has {:g} of {:g} PCIe lanes: {:.0f} % of its bandwidth. Put it into another slot, or "
                      "look for another "
                      "card, riser or BIOS setting that takes its lanes.",
                      name, width, most, 100 * width / most));
    const double can = number_of(device / "max_link_speed");
    if (can > 0 && can < 8)  // GT/s of generation 3
      findings.push_back(
          fmt::format("GPU {} is at a PCIe link of {:g} GT/s at the most, less than generation 3. Raise the "
                      "slot's generation in the BIOS, or take another slot.",
                      name, can));
  }
  return findings;
}

bool has_nvidia_device(const fs::path& root) { return !nvidia_devices(root).empty(); }

Findings library_findings(bool built_with_cuda) {
  Findings findings;
  if (!has_nvidia_device()) return findings;
  if (!built_with_cuda)
    findings.push_back(
        "This machine has a GPU, and this program is built without CUDA. Put nvcc into PATH and build again "
        "(docs/gpu.md).");
  for (const auto& [library, why] :
       {std::pair{"libcuda.so.1", "the driver; no GPU runs without. Install NVIDIA's driver"},
        {"libnccl.so.2", "between GPUs; else messages go through the host. Install libnccl2"},
        {"libcudnn.so.9", "fused attention; else the plain kernels run. Install libcudnn9"}}) {
    if (void* const handle = ::dlopen(library, RTLD_LAZY | RTLD_LOCAL))
      ::dlclose(handle);
    else
      findings.push_back(fmt::format("{} is not found: {}, or set LD_LIBRARY_PATH.", library, why));
  }
  return findings;
}

double disk_bytes_per_s(const fs::path& folder, int mib) {
  const std::vector<char> block(1 << 20, 'x');
  std::string path = (folder / ".measure-XXXXXX").string();
  const int file = ::mkstemp(path.data());
  if (file < 0) throw IoError(fmt::format("[disk] {}: {}.", folder.string(), std::strerror(errno)));
  ::unlink(path.c_str());
  const int64_t begin = now_ns();
  bool good = true;
  for (int i = 0; i < mib && good; ++i) good = ::write(file, block.data(), block.size()) == std::ssize(block);
  good = good && ::fdatasync(file) == 0;
  const int error = errno;
  const double seconds = static_cast<double>(now_ns() - begin) * 1e-9;
  ::close(file);
  if (!good) throw IoError(fmt::format("[disk] {}: {}.", folder.string(), std::strerror(error)));
  return mib * 0x1p20 / seconds;
}

Findings disk_findings(double bytes_per_s, const fs::path& folder) {
  if (bytes_per_s >= 200e6) return {};
  return {fmt::format("{} takes {:.0f} MB/s: a checkpoint of 10 GB takes {:.0f} s. Let --save name a faster disk.",
                      folder.string(), bytes_per_s * 1e-6, 10e9 / bytes_per_s)};
}

Findings drift_findings(double slowest_over_quickest) {
  if (slowest_over_quickest < 1.1) return {};
  return {
      fmt::format("The same product took up to {:.0f} % longer at times: something else runs here, or the clock "
                  "changes. Measure again on a quiet machine; what is measured now is less sure.",
                  100 * (slowest_over_quickest - 1))};
}

Findings exchange_findings(double slowest_over_quickest) {
  if (slowest_over_quickest < 1.5) return {};
  return {fmt::format(
      "The same exchange between ranks took up to {:.1f} times as long at times: a virtual machine's cores may be "
      "moved apart, so that they share no cache, or something else runs here. Communication that is predicted from "
      "this is as unsure.",
      slowest_over_quickest)};
}

}  // namespace trine
