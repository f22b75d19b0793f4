#include "base/atomic_file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

#include "base/file_system.h"

namespace trine {
namespace {
constexpr size_t kBufferBytes = size_t{1} << 20;
}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)), temporary_path_(path_) {
  temporary_path_ += ".tmp";
  if (path_.has_parent_path()) {
    std::error_code ignored;  // open() below reports what matters
    std::filesystem::create_directories(path_.parent_path(), ignored);
  }
  fd_ = ::open(temporary_path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) fail("create");
  buffer_.reserve(kBufferBytes);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_path_(std::move(other.temporary_path_)),
      buffer_(std::move(other.buffer_)),
      size_(other.size_),
      fd_(std::exchange(other.fd_, -1)) {}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_path_.c_str());
}

void AtomicFile::write(const void* data, size_t size_bytes) {
  const char* from = static_cast<const char*>(data);
  size_ += static_cast<int64_t>(size_bytes);
  while (size_bytes > 0) {
    const size_t part = std::min(size_bytes, kBufferBytes - buffer_.size());
    buffer_.insert(buffer_.end(), from, from + part);
    from += part, size_bytes -= part;
    if (buffer_.size() == kBufferBytes) flush();
  }
}

void AtomicFile::flush() {
  for (size_t done = 0; done < buffer_.size();) {
    const ssize_t written = ::write(fd_, buffer_.data() + done, buffer_.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail("write");
    done += static_cast<size_t>(written);
  }
  buffer_.clear();
}

void AtomicFile::truncate(int64_t size_bytes) {
  flush();
  if (::ftruncate(fd_, size_bytes) != 0 || ::lseek(fd_, size_bytes, SEEK_SET) < 0) fail("truncate");
  size_ = size_bytes;
}

void AtomicFile::sync() {
  flush();
  if (::fsync(fd_) != 0) fail("sync");
}

void AtomicFile::publish() {
  if (::rename(temporary_path_.c_str(), path_.c_str()) != 0) fail("rename");
  ::close(std::exchange(fd_, -1));
}

void AtomicFile::fail(const char* what) const {
  throw IoError(fmt::format("[file] {}: {} failed after {} bytes: {}. {} Nothing was left under the final name.",
                            path_.string(), what, size_, std::strerror(errno),
                            errno == ENOSPC || errno == EDQUOT || errno == EFBIG
                                ? "Free space there, raise the limit, or write to another disk."
                                : "Check the folder and its permissions."));
}

}  // namespace trine
