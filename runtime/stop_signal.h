// The wishes to stop after the current step: a signal, or a file that someone puts into the run folder.
#pragma once

#include <csignal>
#include <filesystem>
#include <string>
#include <utility>

namespace trine {

// While it lives, SIGUSR1 and (unless a launcher such as mpirun handles them) SIGINT and SIGTERM ask for a stop. A
// second SIGINT or SIGTERM ends the process at once. One at a time per process; the destructor puts back what was
// there.
class StopSignal {
 public:
  explicit StopSignal(bool under_launcher);
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  ~StopSignal();

  // A file to look for from now on; for one rank only.
  void watch_file(std::filesystem::path stop_file) { stop_file_ = std::move(stop_file); }
  // For work that has no step to stop after: signals do from now on what they did before, and one that came
  // already does it at once.
  void release();

  // To be asked once per step, by one thread: looks at a flag, and whether the file exists. A file found is
  // honoured and removed, so that the next run in this folder does not stop. Stays true.
  bool stop_requested();
  const std::string& reason() const {
    return reason_;
  }  // "SIGINT", "SIGTERM", "SIGUSR1", "stop file"; empty: no stop

 private:
  struct Previous {
    int signal;
    struct sigaction action;
  };
  void put_back();

  std::filesystem::path stop_file_;
  std::string reason_;
  Previous previous_[3];
  int num_installed_ = 0;
};

}  // namespace trine
