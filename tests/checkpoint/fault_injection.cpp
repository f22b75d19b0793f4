#include "tests/checkpoint/fault_injection.h"

#include <cerrno>
#include <cstdarg>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <filesystem>
#include <mutex>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/error.h"

namespace trine::testing {
namespace {

std::mutex mutex;
bool armed = false;
Fault fault;
int seen = 0;
std::vector<Record> records;

enum class Verdict { kPass, kFail, kShort, kDieHalfway };

Verdict judge(Call call, const std::string& path) {
  const std::scoped_lock lock(mutex);
  if (!armed) return Verdict::kPass;
  records.push_back({call, path});
  if (fault.action == Fault::Action::kNone || call != fault.call || path.find(fault.in) == std::string::npos)
    return Verdict::kPass;
  ++seen;
  if (seen != fault.n && !(fault.for_good && seen > fault.n)) return Verdict::kPass;
  switch (fault.action) {
    case Fault::Action::kDie:
      ::_exit(kDied);
    case Fault::Action::kDieHalfway:
      return Verdict::kDieHalfway;
    case Fault::Action::kShort:
      return Verdict::kShort;
    default:
      errno = fault.error;
      return Verdict::kFail;
  }
}

bool is_armed() {
  const std::scoped_lock lock(mutex);
  return armed;
}

std::string path_of(int fd) {
  std::error_code ignored;
  return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), ignored);
}

template <typename F>
F* next(const char* symbol) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, symbol));
}

bool sees(Call call, const std::string& path) {
  const bool counts = !path.starts_with('/') || path.find("/trine-test-") != std::string::npos;
  return !counts || judge(call, path) == Verdict::kPass;
}

}  // namespace

const char* name(Call call) {
  constexpr const char* names[] = {"write", "fsync", "rename", "unlink", "mkdir", "open", "read", "list", "stat"};
  return names[static_cast<int>(call)];
}

void arm(const Fault& wanted) {
  const std::scoped_lock lock(mutex);
  fault = wanted;
  seen = 0;
  records.clear();
  armed = true;
}

std::vector<Record> disarm() {
  const std::scoped_lock lock(mutex);
  armed = false;
  return std::move(records);
}

}  // namespace trine::testing

using trine::testing::Call;
using trine::testing::Verdict;

extern "C" {

ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
  static auto* const real = trine::testing::next<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  if (!trine::testing::is_armed()) return real(fd, data, size, at);
  switch (trine::testing::judge(Call::kWrite, trine::testing::path_of(fd))) {
    case Verdict::kFail:
      return -1;
    case Verdict::kShort:
      return real(fd, data, (size + 1) / 2, at);
    case Verdict::kDieHalfway:
      real(fd, data, size / 2, at);
      ::_exit(trine::testing::kDied);
    default:
      return real(fd, data, size, at);
  }
}

int fsync(int fd) {
  static auto* const real = trine::testing::next<int(int)>("fsync");
  if (!trine::testing::is_armed()) return real(fd);
  return trine::testing::judge(Call::kSync, trine::testing::path_of(fd)) == Verdict::kPass ? real(fd) : -1;
}

int rename(const char* from, const char* to) noexcept {
  static auto* const real = trine::testing::next<int(const char*, const char*)>("rename");
  return trine::testing::judge(Call::kRename, to) == Verdict::kPass ? real(from, to) : -1;
}

int unlink(const char* path) noexcept {
  static auto* const real = trine::testing::next<int(const char*)>("unlink");
  return trine::testing::judge(Call::kUnlink, path) == Verdict::kPass ? real(path) : -1;
}

int rmdir(const char* path) noexcept {
  static auto* const real = trine::testing::next<int(const char*)>("rmdir");
  return trine::testing::judge(Call::kUnlink, path) == Verdict::kPass ? real(path) : -1;
}

int mkdir(const char* path, mode_t mode) noexcept {
  static auto* const real = trine::testing::next<int(const char*, mode_t)>("mkdir");
  return trine::testing::judge(Call::kMkdir, path) == Verdict::kPass ? real(path, mode) : -1;
}

int open(const char* path, int flags, ...) {
  static auto* const real = trine::testing::next<int(const char*, int, ...)>("open");
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return trine::testing::sees(Call::kOpen, path) ? real(path, flags, mode) : -1;
}

ssize_t pread(int fd, void* data, size_t size, off_t at) {
  static auto* const real = trine::testing::next<ssize_t(int, void*, size_t, off_t)>("pread");
  if (!trine::testing::is_armed()) return real(fd, data, size, at);
  return trine::testing::sees(Call::kRead, trine::testing::path_of(fd)) ? real(fd, data, size, at) : -1;
}

DIR* opendir(const char* path) {
  static auto* const real = trine::testing::next<DIR*(const char*)>("opendir");
  return trine::testing::sees(Call::kList, path) ? real(path) : nullptr;
}

dirent* readdir(DIR* folder) {
  static auto* const real = trine::testing::next<dirent*(DIR*)>("readdir");
  if (!trine::testing::is_armed()) return real(folder);
  return trine::testing::sees(Call::kList, trine::testing::path_of(::dirfd(folder))) ? real(folder) : nullptr;
}

#define STAT(symbol)                                                                         \
  int symbol(const char* path, struct stat* info) noexcept {                                 \
    static auto* const real = trine::testing::next<int(const char*, struct stat*)>(#symbol); \
    return trine::testing::sees(Call::kStat, path) ? real(path, info) : -1;                  \
  }
STAT(stat)
STAT(lstat)

}  // extern "C"
