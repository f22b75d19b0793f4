#include "runtime/failure/process_state.h"

#include <array>
#include <filesystem>
#include <fmt/core.h>
#include <fstream>
#include <optional>
#include <sstream>
#include <unistd.h>

namespace trine {
namespace {

struct Stat {
  char state = '?';
  uint64_t start_time = 0;
};

// From /proc/PID/stat, see proc(5): "pid (name) state ...", the start time is field 22. The name may hold anything.
std::optional<Stat> read_stat(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(line.substr(name_end + 1));
  Stat stat;
  fields >> stat.state;
  std::string skipped;
  for (int field = 4; field < 22; ++field) fields >> skipped;
  fields >> stat.start_time;
  return stat;
}

std::string this_space() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string boot;
  std::getline(file, boot);
  std::error_code ignored;  // Linux before 5.6 has no time namespaces
  for (const char* of : {"/proc/self/ns/pid", "/proc/self/ns/time"})
    boot += " " + std::filesystem::read_symlink(of, ignored).string();
  return boot;
}

}  // namespace

ProcessIdentity ProcessIdentity::own() { return of(::getpid()); }

ProcessIdentity ProcessIdentity::of(pid_t pid) {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return {pid, read_stat(pid).value_or(Stat{}).start_time, host.data(), this_space()};
}

ProcessState process_state(const ProcessIdentity& process) {
  if (process.space != this_space()) return ProcessState::kElsewhere;
  const std::optional<Stat> stat = read_stat(process.pid);
  if (!stat || stat->start_time != process.start_time || stat->state == 'Z' || stat->state == 'X')
    return ProcessState::kDead;
  return stat->state == 'T' || stat->state == 't' ? ProcessState::kStopped : ProcessState::kRunning;
}

}  // namespace trine
