#include "base/output_file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>
#include <utility>

#include "base/own_file.h"

namespace trine {

OutputFile::OutputFile(std::filesystem::path path, int64_t kept_bytes) : path_(std::move(path)), size_(kept_bytes) {
  std::error_code ignored;  // open() reports what matters
  if (path_.has_parent_path()) std::filesystem::create_directories(path_.parent_path(), ignored);
  std::string problem;
  fd_ = open_own_file(path_, O_WRONLY, problem, kept_bytes);
  if (fd_ < 0) fail("open", problem);
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
}

bool OutputFile::write_from(int64_t offset, std::string_view text) {
  if (fd_ < 0) return false;
  ssize_t written;
  do {
    written = ::pwrite(fd_, text.data(), text.size(), offset);
  } while (written < 0 && errno == EINTR);
  if (written == static_cast<ssize_t>(text.size())) {
    const int64_t end = offset + written;
    if (end < std::exchange(size_, end) && ::ftruncate(fd_, end) != 0) return fail("truncate");
    return true;
  }
  if (written >= 0) errno = ENOSPC;  // a short write to a file: a disk, quota or limit that is full
  fail("write");
  if (::ftruncate(fd_, offset) == 0) size_ = offset;
  return false;
}

bool OutputFile::fail(const char* what) { return fail(what, std::strerror(errno)); }

bool OutputFile::fail(const char* what, const std::string& reason) {
  if (error_.empty()) {
    error_ = fmt::format(
        "[file] {}: {} failed: {}. Free space or mend the folder; "
        "training goes on without what could not be written.",
        path_.string(), what, reason);
  }
  return false;
}

std::optional<std::string> OutputFile::take_warning() {
  if (error_.empty() || std::exchange(reported_, true)) return std::nullopt;
  return error_;
}

}  // namespace trine
