// Ends this process when a rank of its host dies, so that nobody waits for it until --timeout; and tells a
// launcher's SIGTERM after such a death from a person's.
#pragma once

#include <atomic>
#include <csignal>
#include <map>
#include <thread>

#include "runtime/failure/rank_status.h"

namespace trine {

// A thread that sleeps until a process of another rank ends, or SIGTERM or SIGINT comes from a launcher that ends
// its ranks with them (elsewhere StopSignal has them):
//   a rank was killed or crashed     -> report_failure, and exit with its code
//   a rank failed and said so itself -> exit with ExitCode::kPeerLost, silently
//   a signal, and nobody is dead     -> the signal's default action: a person has stopped the launcher
// Exits are immediate (_exit): whatever the other threads are in would not end. The launcher ends the other hosts.
// MPICH's mpiexec leaves no time for a message: it kills all ranks as soon as one is gone, and prints which
// process. One at a time per process; the destructor puts the signals back.
class FailureWatch {
 public:
  // REQUIRES: all ranks have passed a barrier after they made their StatusWriter. `takes_signals`: SIGTERM and
  // SIGINT are the launcher's. Without pidfd_open (Linux before 5.3) the thread looks once per second.
  explicit FailureWatch(StatusWriter& own, bool takes_signals = true);
  FailureWatch(const FailureWatch&) = delete;
  FailureWatch& operator=(const FailureWatch&) = delete;
  ~FailureWatch();

 private:
  void watch_peers();
  void run();
  void look_at(int rank);
  void on_signal(int signal);
  bool any_lost() const;
  [[noreturn]] void report_and_exit();

  StatusWriter& own_;
  const bool takes_signals_;
  int wake_fd_ = -1;                // readable after a signal, or when the destructor wants an end
  std::map<int, int> process_fds_;  // of the ranks on this host; -1: to be looked at once per second
  std::atomic<bool> stop_ = false;
  struct sigaction previous_term_, previous_int_;
  std::thread thread_;  // last: it uses all the others
};

}  // namespace trine
