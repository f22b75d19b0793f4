// The two kinds of error: the user's (an Error with the exit code that the program returns) and ours (TRINE_CHECK).
// Every message says where, what we got, what we need and what to do:
//   [mesh] 12 ranks but tp*pp = 16. Start a multiple of 16 ranks, or lower --tp or --pp.
#pragma once

#include <fmt/core.h>
#include <stdexcept>
#include <string>
#include <vector>

namespace trine {

// What a program returns to the shell. The numbers are part of the interface.
enum class ExitCode : int {
  kOk = 0,
  kOther = 1,
  kConfig = 2,
  kData = 3,
  kOutOfMemory = 4,
  kHang = 5,
  kPeerLost = 6,
  kNoCheckpoint = 7,
  kStopped = 8,
  kNonFinite = 9,
};

// An error that a user can cause and mend. Only main() turns it into an exit code.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

struct ConfigError : Error {
  explicit ConfigError(const std::string& message) : Error(ExitCode::kConfig, message) {}
};
// A file that is missing, unreadable or whose contents are broken.
struct DataError : Error {
  explicit DataError(const std::string& message) : Error(ExitCode::kData, message) {}
};
struct OutOfMemoryError : Error {
  explicit OutOfMemoryError(const std::string& message) : Error(ExitCode::kOutOfMemory, message) {}
};
// A rank that did not answer in time, and one that ended while others needed it.
struct HangError : Error {
  explicit HangError(const std::string& message) : Error(ExitCode::kHang, message) {}
};
struct PeerLostError : Error {
  explicit PeerLostError(const std::string& message) : Error(ExitCode::kPeerLost, message) {}
};
struct NonFiniteError : Error {
  explicit NonFiniteError(const std::string& message) : Error(ExitCode::kNonFinite, message) {}
};

// Collects configuration problems, so that a user sees all of them at once.
class Problems {
 public:
  template <typename... Args>
  void add(std::string_view where, fmt::format_string<Args...> format, Args&&... args) {
    list_.push_back(fmt::format("[{}] {}", where, fmt::format(format, std::forward<Args>(args)...)));
  }
  bool empty() const { return list_.empty(); }
  const std::vector<std::string>& list() const { return list_; }
  void throw_if_any() const;  // ConfigError with one line per problem

 private:
  std::vector<std::string> list_;
};

// A violated invariant of Trine itself: the program is wrong, not the user. Always on.
struct CheckError : std::logic_error {
  using std::logic_error::logic_error;
};
[[noreturn]] void check_failed(const char* file, int line, const char* condition, const std::string& message);

}  // namespace trine

// TRINE_CHECK(condition) or TRINE_CHECK(condition, "format", args...).
#define TRINE_CHECK(condition, ...)                                                                       \
  do {                                                                                                    \
    if (!(condition)) [[unlikely]]                                                                        \
      ::trine::check_failed(__FILE__, __LINE__, #condition, ::trine::detail::check_message(__VA_ARGS__)); \
  } while (false)

namespace trine::detail {
inline std::string check_message() { return {}; }
template <typename... Args>
std::string check_message(fmt::format_string<Args...> format, Args&&... args) {
  return fmt::format(format, std::forward<Args>(args)...);
}
}  // namespace trine::detail
