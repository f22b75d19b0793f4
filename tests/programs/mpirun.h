// Programs on several ranks: the launcher's command, and a job that a test may look at and harm while it runs.
#pragma once

#include <chrono>
#include <csignal>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "runtime/failure/rank_status.h"
#include "tests/programs/run.h"

namespace trine {

inline constexpr bool kOpenMpi = std::string_view(TRINE_MPIEXEC).find("--oversubscribe") != std::string_view::npos;

// The beginning of a command line for so many ranks. Open MPI's own leaks are not ours to report.
inline std::string mpirun(int num_ranks) {
  return "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
         "ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0; exec " TRINE_MPIEXEC " -np " +
         std::to_string(num_ranks) + " ";
}

// REQUIRES: whole lines of JSON.
inline std::vector<nlohmann::json> json_lines(const std::filesystem::path& file) {
  const std::string text = read_file(file);
  EXPECT_TRUE(text.empty() || text.back() == '\n') << file;
  std::vector<nlohmann::json> list;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) list.push_back(nlohmann::json::parse(line));
  return list;
}

inline size_t count(const std::string& text, const std::string& word) {
  size_t n = 0;
  for (size_t at = text.find(word); at != text.npos; at = text.find(word, at + 1)) ++n;
  return n;
}

// A command that runs in `folder` while the test goes on. Killed at the end, if it still runs.
class Job {
 public:
  using Seconds = std::chrono::duration<double>;

  Job(std::filesystem::path folder, const std::string& command) : folder_(std::move(folder)) {
    const std::string shell =
        "export PATH=" TRINE_BIN ":$PATH; cd " + folder_.string() + "; exec > printed 2>&1; " + command;
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::execl("/bin/bash", "bash", "-c", shell.c_str(), nullptr);
    ::_exit(127);
  }
  Job(const Job&) = delete;
  ~Job() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }  // of the launcher
  std::string printed() const { return read_file(folder_ / "printed"); }

  // Its exit code, 128 + signal for one that was killed; -1 if it still runs after `limit`.
  int wait(Seconds limit = Seconds(60)) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > deadline) return -1;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  // Stops the rank's process at a moment that `wanted` describes, from step 2 on; nullopt if none comes. Its status
  // is exact: the rank does nothing any more.
  std::optional<RankStatus> stop_at(int rank, const std::function<bool(const RankStatus&)>& wanted) const {
    const auto is_wanted = [&](const std::optional<RankStatus>& now) {
      return now && now->step > 1 && wanted(*now);
    };
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (std::chrono::steady_clock::now() < deadline && ::waitpid(pid_, nullptr, WNOHANG) == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(300));
      const auto seen = read_status(folder_ / "out", rank);
      if (!is_wanted(seen)) continue;
      ::kill(seen->process.pid, SIGSTOP);
      while (process_state(seen->process) == ProcessState::kRunning) std::this_thread::yield();
      const auto stopped = read_status(folder_ / "out", rank);
      if (is_wanted(stopped)) return stopped;
      ::kill(seen->process.pid, SIGCONT);
    }
    return std::nullopt;
  }
  // Until step `step` of the run is in its metrics.
  void wait_for_step(int step) const {
    const std::string line = "{\"step\":" + std::to_string(step) + ",";
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (read_file(folder_ / "out/metrics.jsonl").find(line) == std::string::npos) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << printed();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

 private:
  std::filesystem::path folder_;
  pid_t pid_ = -1;
};

// Processes of `program` that were started on `folder`, stopped ones too;
// a moment is given to those that are ending.
inline size_t num_processes_left(const std::string& program, const std::filesystem::path& folder) {
  size_t num = 0;
  for (int attempt = 0; attempt < 40; ++attempt) {
    num = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string command = read_file(entry.path() / "cmdline");  // empty for a zombie
      num += command.find(program) != command.npos && command.find(folder) != command.npos;
    }
    if (num == 0) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return num;
}

}  // namespace trine
