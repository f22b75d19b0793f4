#include "base/own_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "base/atomic_file.h"
#include "base/error.h"

namespace trine {
namespace {

void copy_beginning(const std::filesystem::path& path, int64_t bytes) {
  const int from = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  AtomicFile to(path);
  std::vector<char> block(1 << 16);
  while (to.size() < bytes) {
    const auto wanted = std::min(std::ssize(block), static_cast<ptrdiff_t>(bytes - to.size()));
    const ssize_t n = ::read(from, block.data(), static_cast<size_t>(wanted));
    if (n <= 0) break;
    to.write(block.data(), static_cast<size_t>(n));
  }
  ::close(from);
  if (to.size() < bytes) throw DataError(fmt::format("[file] {} cannot be read whole.", path.string()));
  to.commit();
}

}  // namespace

int open_own_file(const std::filesystem::path& path, int flags, std::string& problem, int64_t kept_bytes) {
  // Not blocking: a pipe of that name must not hold up anybody.
  const auto open = [&] {
    return ::open(path.c_str(), flags | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
  };
  const auto fail = [&](int fd, std::string what) {
    if (fd >= 0) ::close(fd);
    problem = std::move(what);
    return -1;
  };
  const int fd = open();
  if (fd < 0) {
    if (errno == ELOOP) return fail(fd, "it is a link, and a link is not written through: remove it");
    return fail(fd, std::strerror(errno));
  }
  struct stat info {};
  if (::fstat(fd, &info) != 0) return fail(fd, std::strerror(errno));
  if (S_ISCHR(info.st_mode)) return fd;  // /dev/null and its like
  if (!S_ISREG(info.st_mode)) return fail(fd, "it is no regular file: remove it");
  const int64_t kept = std::min(kept_bytes, int64_t{info.st_size});
  if (info.st_nlink <= 1)
    return kept == info.st_size || ::ftruncate(fd, kept) == 0 ? fd : fail(fd, std::strerror(errno));
  ::close(fd);
  try {
    copy_beginning(path, kept);
  } catch (const DataError& error) {
    return fail(-1, error.what());
  }
  const int copy = open();
  return copy >= 0 ? copy : fail(copy, std::strerror(errno));
}

bool is_regular(int fd) {
  struct stat info {};
  return ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
}

bool stands_at(int fd, const std::filesystem::path& path) {
  struct stat open {
  }, named{};
  return ::fstat(fd, &open) == 0 && ::lstat(path.c_str(), &named) == 0 && open.st_dev == named.st_dev &&
         open.st_ino == named.st_ino;
}

}  // namespace trine
