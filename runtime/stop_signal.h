// The wishes to stop after the current step: a signal, or a file that someone puts into the run folder.
#pragma once

#include <csignal>
#include <filesystem>
#include <string>

namespace trine {

// While it lives, SIGUSR1 and (unless a launcher such as mpirun handles them) SIGINT and SIGTERM ask for a stop. A
// second SIGINT or SIGTERM ends the process at once. One at a time per process; the destructor puts back what was
// there.
class StopSignal {
 public:
  // `stop_file` is looked for; empty: there is none (all ranks but one).
  StopSignal(bool under_launcher, std::filesystem::path stop_file);
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  ~StopSignal();

  // To be asked once per step: looks at a flag, and whether the file exists. A file found is honoured and removed,
  // so that the next run in this folder does not stop. Stays true.
  bool stop_requested();
  const std::string& reason() const {
    return reason_;
  }  // "SIGINT", "SIGTERM", "SIGUSR1", "stop file"; empty: no stop

 private:
  struct Previous {
    int signal;
    struct sigaction action;
  };
  std::filesystem::path stop_file_;
  std::string reason_;
  Previous previous_[3];
  int num_installed_ = 0;
};

}  // namespace trine
