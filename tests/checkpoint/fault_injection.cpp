#include "tests/checkpoint/fault_injection.h"

#include <cerrno>
#include <dlfcn.h>
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
  if (fault.action == Fault::Action::kNone || call != fault.call) return Verdict::kPass;
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

}  // namespace

const char* name(Call call) {
  constexpr const char* names[] = {"write", "fsync", "rename", "unlink", "mkdir"};
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

}  // extern "C"
