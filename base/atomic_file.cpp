#include "base/atomic_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <random>
#include <sys/file.h>
#include <unistd.h>
#include <utility>

#include "base/error.h"
#include "base/file_system.h"
#include "base/own_file.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr std::string_view kMark = ".tmp-";
constexpr size_t kDigits = 16;

fs::path random_name(fs::path path) {
  std::random_device random;
  return path += fmt::format("{}{:08x}{:08x}", kMark, random(), random());
}

bool is_temporary_name_of(std::string_view name, std::string_view final_name) {
  return name.size() == final_name.size() + kMark.size() + kDigits && name.starts_with(final_name) &&
         name.substr(final_name.size()).starts_with(kMark) &&
         name.find_first_not_of("0123456789abcdef", final_name.size() + kMark.size()) == name.npos;
}

// What writers of `path` left that were killed: locked by nobody.
void remove_abandoned(const fs::path& path) {
  std::error_code error;
  const fs::path folder = path.has_parent_path() ? path.parent_path() : ".";
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (!is_temporary_name_of(it->path().filename().native(), path.filename().native())) continue;
    const int fd = ::open(it->path().c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) continue;
    if (is_regular(fd) && ::flock(fd, LOCK_EX | LOCK_NB) == 0) ::unlink(it->path().c_str());
    ::close(fd);
  }
}

// New and locked; -1: errno says why not.
int open_temporary(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (fd < 0) return fd;
  const bool locked = ::flock(fd, LOCK_EX | LOCK_NB) == 0;
  // Where there are no locks nobody takes it for abandoned either.
  if (locked ? stands_at(fd, path) : errno != EWOULDBLOCK) return fd;
  ::close(fd);
  errno = EAGAIN;  // somebody took it for abandoned before it was locked
  return -1;
}

}  // namespace

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  if (path_.has_parent_path()) {
    std::error_code ignored;  // open() below reports what matters
    fs::create_directories(path_.parent_path(), ignored);
  }
  remove_abandoned(path_);
  do {
    temporary_path_ = random_name(path_);
    fd_ = open_temporary(temporary_path_);
  } while (fd_ < 0 && (errno == EAGAIN || errno == EEXIST));
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
