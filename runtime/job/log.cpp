#include "runtime/job/log.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utility>

#include "base/own_file.h"
#include "base/program.h"
#include "base/terminal.h"

namespace trine {
namespace {

constexpr std::string_view kEraseLine = "\r\x1b[K";

size_t columns(std::FILE* stream) {
  winsize size{};
  return ::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

Log::Log(int rank, bool quiet, std::FILE* out, std::FILE* err)
    : rank_(rank),
      prints_info_(rank == 0 && !quiet),
      shows_status_(prints_info_ && can_erase_lines(::fileno(out))),
      out_(out),
      err_(err) {}

Log::~Log() {
  status("");
  if (fd_ >= 0) ::close(fd_);
}

void Log::open(const std::filesystem::path& path) {
  // Several ranks may add to one file: whole lines at its end.
  opened_ = true;
  std::string problem;
  fd_ = open_own_file(path, O_WRONLY | O_APPEND, problem);
  if (fd_ < 0)
    warn(fmt::format("[log] {} cannot be opened: {}. What you read here is not kept.", path.string(), problem));
  const std::string early = std::exchange(early_, {});
  if (!early.empty()) append(early);
}

void Log::info(std::string_view text) {
  if (prints_info_) print(out_, text);
  record(text);
}

void Log::warn(std::string_view text) {
  const std::string line = fmt::format("warning: {}", text);
  if (rank_ == 0) print(err_, line);
  record(line);
}

void Log::fail(std::string_view text) {
  print(err_, text);
  record(text);
}

void Log::print(std::FILE* stream, std::string_view text) {
  const std::string shown = std::exchange(status_, {});
  if (!shown.empty()) say(out_, kEraseLine);
  say(stream, std::string(text) + "\n");
  status(shown);
}

void Log::status(std::string_view text) {
  if (!shows_status_ || (text.empty() && status_.empty())) return;
  // A line that wraps could not be erased.
  status_ = text.substr(0, columns(out_) - 1);
  say(out_, std::string(kEraseLine) + status_);
}

void Log::record(std::string_view text) {
  std::string stamped;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    stamped += fmt::format("[rank {}] {}\n", rank_, text.substr(begin, end - begin));
    begin = end + 1;
  }
  if (opened_)
    append(stamped);
  else
    early_ += stamped;
}

void Log::append(std::string_view lines) {
  if (fd_ < 0 || ::write(fd_, lines.data(), lines.size()) == static_cast<ssize_t>(lines.size())) return;
  const int reason = errno;
  ::close(std::exchange(fd_, -1));  // first: the warning comes back here
  warn(fmt::format("[log] writing failed: {}. The rest of this log is not kept.", std::strerror(reason)));
}

}  // namespace trine
