// What a person reads while the program runs: on the terminal, and again in log.txt.
#pragma once

#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

namespace trine {

// One thread at a time. A stream or log file that cannot be written is not an error:
// a full disk does not stop training.
class Log {
 public:
  // Rank 0 prints; the others only fail() aloud. `quiet` silences info() on the terminal, not in log.txt.
  Log(int rank, bool quiet, std::FILE* out = stdout, std::FILE* err = stderr);
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;
  ~Log();

  // For ranks of a launcher: mpirun gives rank 0 a terminal of its own, whatever the user's output goes to.
  void without_status() { shows_status_ = false; }
  // From now on every line also goes to the end of this file, stamped with the rank, after what was said before.
  void open(const std::filesystem::path& path);

  void info(std::string_view text);  // stdout
  void warn(std::string_view text);  // stderr, "warning: " in front
  void fail(std::string_view text);  // stderr, on any rank

  // A line at the bottom of the terminal that the next one replaces; an empty one removes it. Nothing where
  // shows_status() is false: stdout is no terminal that can erase a line (TERM=dumb),
  // or nothing is to be printed there.
  void status(std::string_view text);
  bool shows_status() const { return shows_status_; }

 private:
  void print(std::FILE* stream, std::string_view text);
  void record(std::string_view text);
  void append(std::string_view lines);

  int rank_;
  bool prints_info_, shows_status_;
  std::FILE *out_, *err_;
  std::string status_;  // as it stands on the terminal
  std::string early_;   // recorded before open()
  bool opened_ = false;
  int fd_ = -1;  // of log.txt; -1 also after a failure
};

}  // namespace trine
