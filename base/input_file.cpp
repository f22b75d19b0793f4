#include "base/input_file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace trine {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const char* what) {
  if (errno == EMFILE || errno == ENFILE)
    throw IoError(fmt::format("[file] {}: {} failed: {}. Raise the limit (ulimit -n).", path.string(), what,
                              std::strerror(errno)));
  throw_file_error("[file]", path, what);
}

const char* kind_in_words(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

// Data may be more files than a process opens by default; most systems let it open more when it asks.
bool raise_open_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return false;
  limit.rlim_cur = limit.rlim_max;
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

// Not blocking: a pipe that nobody writes to must not hold up anybody.
int open_for_reading(const std::filesystem::path& path) {
  constexpr int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  for (;;) {
    const int fd = ::open(path.c_str(), flags);
    if (fd >= 0 || (errno != EINTR && !(errno == EMFILE && raise_open_files()))) return fd;
  }
}

}  // namespace

InputFile::InputFile(const std::filesystem::path& path) : path_(path), fd_(open_for_reading(path)) {
  if (fd_ < 0) fail(path, "open");
  struct stat info {};
  const int error = ::fstat(fd_, &info) == 0 ? 0 : errno;
  size_ = info.st_size;
  if (error == 0 && S_ISREG(info.st_mode)) return;
  ::close(fd_);
  errno = error;
  if (error != 0) fail(path, "stat");
  throw DataError(fmt::format("[file] {}: is {}, need a regular file. Check the path, or write it to a file first.",
                              path.string(), kind_in_words(info.st_mode)));
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), size_(std::exchange(other.size_, 0)), fd_(std::exchange(other.fd_, -1)) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(size_, other.size_);
  std::swap(fd_, other.fd_);
  return *this;
}

InputFile::~InputFile() {
  if (fd_ >= 0) ::close(fd_);
}

void InputFile::read(int64_t at, std::span<std::byte> to) const {
  for (size_t done = 0; done < to.size();) {
    const ssize_t n = ::pread(fd_, to.data() + done, to.size() - done, at + static_cast<int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path_, "read");
    if (n == 0) {
      struct stat info {};
      const int64_t end = ::fstat(fd_, &info) == 0 ? info.st_size : at + static_cast<int64_t>(done);
      throw DataError(
          fmt::format("[file] {}: ends at byte {}, need {}: it was cut while it was read (it had {} "
                      "bytes when it was opened). Restore it, and do not write to it meanwhile.",
                      path_.string(), end, at + std::ssize(to), size_));
    }
    done += static_cast<size_t>(n);
  }
}

std::string read_text_file(const std::filesystem::path& path, int64_t max_bytes) {
  const InputFile file(path);
  if (file.size() > max_bytes)
    throw DataError(fmt::format("[file] {}: {}, need at most {}. This is another kind of file.", path.string(),
                                format_bytes(file.size()), format_bytes(max_bytes)));
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

std::string beginning_of(const std::filesystem::path& path, int64_t bytes) {
  if (!is_file(path)) return {};
  const InputFile file(path);
  std::string text(static_cast<size_t>(std::min(bytes, file.size())), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace trine
