// The wishes to stop after the current step: a signal, or a file that someone puts into the run folder.
#pragma once

#include <csignal>
#include <filesystem>
#include <string>
#include <utility>

#include "comm/launch.h"

namespace trine {

// While it lives, SIGUSR1 asks for a stop, and so do
//   SIGINT, SIGTERM and SIGHUP (unless nohup ignores that) without a launcher: a second SIGINT or SIGTERM ends the
//   process at once;
//   SIGINT and SIGTERM of a launcher that passes them on, as often as they come: srun sends them more than once.
// Another launcher, such as mpirun, keeps those two for itself. One at a time per process. The destructor puts back
// what was there, but does not bring back a default action of SIGUSR1 and SIGHUP, which would kill a process that
// is about to end well.
class StopSignal {
 public:
  explicit StopSignal(const Launch& launch);
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  ~StopSignal();

  bool takes_sigterm() const { return num_installed_ > 1; }
  // A file to look for from now on; for one rank only.
  void watch_file(std::filesystem::path stop_file) { stop_file_ = std::move(stop_file); }
  // For work that has no step to stop after: signals do from now on what they did before, and one that came
  // already does it at once.
  void release();

  // The work is done and kept: from now on no signal changes how the process ends.
  void hold();

  // To be asked once per step, by one thread: looks at a flag, and whether the file exists. A file found is
  // honoured and removed, so that the next run in this folder does not stop. Stays true.
  bool stop_requested();
  const std::string& reason() const {
    return reason_;
  }  // "SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "stop file"; empty: no stop

 private:
  struct Previous {
    int signal;
    struct sigaction action;
  };
  void install(int signal, bool once);
  void put_back();

  std::filesystem::path stop_file_;
  std::string reason_;
  Previous previous_[4];
  int num_installed_ = 0;
  bool held_ = false;
};

}  // namespace trine
