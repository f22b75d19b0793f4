#include "checkpoint/file_io.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "base/text.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void fail(const fs::path& path, const char* what) { throw_file_error("[checkpoint]", path, what); }

// A folder, and no link to one.
bool is_own_folder(const fs::path& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) return S_ISDIR(info.st_mode);
  if (errno != ENOENT) fail(path, "looking at it");
  return false;
}

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

}  // namespace

File File::create(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) fail(path, "create");
  return {path, fd};
}

File File::open(const fs::path& path, bool behind_links) {
  // Not blocking: a pipe of that name must not hold up anybody.
  const int fd = ::open(path.c_str(), O_RDONLY | (behind_links ? 0 : O_NOFOLLOW) | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) fail(path, "open");
  File file(path, fd);
  struct stat info {};
  if (::fstat(fd, &info) != 0) fail(path, "stat");
  if (!S_ISREG(info.st_mode)) {
    throw DataError(
        fmt::format("[checkpoint] {}: is no regular file, need one. Copy the checkpoint again.", path.string()));
  }
  return file;
}

File File::open_folder(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail(path, "open");
  return {path, fd};
}

File::File(File&& other) noexcept : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

int64_t File::size() const {
  struct stat info {};
  if (::fstat(fd_, &info) != 0) fail(path_, "stat");
  return info.st_size;
}

void File::read(int64_t at, std::span<std::byte> to) const {
  for (size_t done = 0; done < to.size();) {
    const ssize_t n = ::pread(fd_, to.data() + done, to.size() - done, at + static_cast<int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path_, "read");
    if (n == 0) {
      throw DataError(fmt::format("[checkpoint] {}: ends at byte {}, need {}. The file is cut: copy it again.",
                                  path_.string(), at + static_cast<int64_t>(done),
                                  at + static_cast<int64_t>(to.size())));
    }
    done += static_cast<size_t>(n);
  }
}

void File::write(int64_t at, std::span<const std::byte> from) {
  for (size_t done = 0; done < from.size();) {
    const ssize_t n = ::pwrite(fd_, from.data() + done, from.size() - done, at + static_cast<int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = EIO;
    if (n <= 0) fail(path_, "write");
    done += static_cast<size_t>(n);
  }
}

void File::truncate(int64_t size_bytes) {
  if (::ftruncate(fd_, size_bytes) != 0) fail(path_, "truncate");
}

void File::sync() {
  if (::fsync(fd_) != 0) fail(path_, "sync");
}

void File::start_writeback(int64_t at, int64_t size_bytes) {
  (void)::sync_file_range(fd_, at, size_bytes, SYNC_FILE_RANGE_WRITE);
}

void File::will_read_all() const { (void)::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL); }

std::string read_small_file(const fs::path& path, int64_t max_bytes, bool behind_links) {
  const File file = File::open(path, behind_links);
  const int64_t size = file.size();
  if (size > max_bytes) {
    throw DataError(fmt::format("[checkpoint] {}: {}, need at most {}. This is no such file of Trine's.",
                                path.string(), format_bytes(size), format_bytes(max_bytes)));
  }
  std::string text(static_cast<size_t>(size), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

void make_folder(const fs::path& path) {
  if (path.empty() || ::mkdir(path.c_str(), 0777) == 0) return;
  if (errno == ENOENT && path.has_parent_path() && path.parent_path() != path) {
    make_folder(path.parent_path());
    if (::mkdir(path.c_str(), 0777) == 0) return;
  }
  const int code = errno;
  if (code == EEXIST && is_folder(path)) return;
  errno = code;
  fail(path, "making the folder");
}

void sync_folder(const fs::path& path) { File::open_folder(path).sync(); }

void rename_path(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail(to, "rename");
}

void remove_file(const fs::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail(path, "remove");
}

void remove_folder(const fs::path& path, const char* first) {
  if (!is_own_folder(path)) return remove_file(path);
  if (*first != '\0') remove_file(path / first);
  for (const std::string& name : names_in(path).value_or(std::vector<std::string>())) remove_folder(path / name);
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) fail(path, "remove");
}

void write_whole_file(const fs::path& path, std::string_view text) {
  const fs::path temporary = path.string() + ".tmp";
  remove_file(temporary);
  {
    File file = File::create(temporary);
    try {
      file.write(0, bytes_of(text));
      file.sync();
      rename_path(temporary, path);
    } catch (...) {
      ::unlink(temporary.c_str());
      throw;
    }
  }
}

int64_t free_bytes(const fs::path& folder) {
  struct statvfs info {};
  if (::statvfs(folder.c_str(), &info) != 0) fail(folder, "statvfs");
  return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
}

void require_free_bytes(const fs::path& folder, int64_t need_bytes) {
  const int64_t have = free_bytes(folder);
  if (have >= need_bytes) return;
  throw DiskFullError(
      fmt::format("[checkpoint] {}: {} free, but the checkpoint needs {}. Free space there, lower "
                  "--keep, or save to another disk with --save.",
                  folder.string(), format_bytes(have), format_bytes(need_bytes)));
}

}  // namespace trine
