// Whether another process of this host still runs, safe against reused process ids.
#pragma once

#include <cstdint>
#include <string>
#include <sys/types.h>

namespace trine {

enum class ProcessState {
  kRunning,
  kStopped,    // by SIGSTOP or a debugger
  kDead,       // gone, or a zombie that nobody has waited for yet
  kElsewhere,  // on another host or in another container: unknown from here
};

struct ProcessIdentity {
  pid_t pid = 0;
  uint64_t start_time = 0;  // clock ticks since boot: with the pid unique on a host
  std::string host;         // for people
  // Equal for processes that see each other's pids and start times: boot id, pid and time namespace.
  std::string space;

  static ProcessIdentity own();
  static ProcessIdentity of(pid_t pid);  // of this host; one that is not there counts as dead
};

ProcessState process_state(const ProcessIdentity& process);

}  // namespace trine
