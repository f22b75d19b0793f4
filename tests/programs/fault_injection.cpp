// Preloaded into a program (LD_PRELOAD), lets one of its calls on files fail, come up short or be its last.
//   TRINE_FAULT=CALL:N:ACTION[:on]  the N-th call, from 1; "on": and all that follow
//     CALL    open read write truncate fsync rename unlink mkdir link list (a folder) stat; main (the program
//     begins), MPI_Init_thread,
//             MPI_Comm_split, MPI_Isend, MPI_Finalize; or any
//     ACTION  ENOSPC EIO: fails so; short: half of a write is done; kill: SIGKILL before it; halfway: behind half
//             of a write; stop: SIGSTOP before it; SIGUSR1: gets that signal before it; delay: 2 ms before it
//   TRINE_FAULT_IN=TEXT             only paths with TEXT in them count, of MPI and main their name
//   TRINE_FAULT_RANK=N              only in rank N of those that mpirun started
//   TRINE_FAULT_LOG=FILE            gets a line "CALL PATH" for each call that counts
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

namespace {

struct Fault {
  char call[16] = {}, action[16] = {}, more[8] = {};
  int n = 0;
  const char *in = nullptr, *log = nullptr;

  Fault() : in(std::getenv("TRINE_FAULT_IN")), log(std::getenv("TRINE_FAULT_LOG")) {
    const char* const wanted = std::getenv("TRINE_FAULT_RANK");
    const char* const open_mpi = std::getenv("OMPI_COMM_WORLD_RANK");
    const char* const own = open_mpi != nullptr ? open_mpi : std::getenv("PMI_RANK");
    if (wanted != nullptr && (own == nullptr || std::strcmp(wanted, own) != 0)) in = nullptr;
    if (const char* text = std::getenv("TRINE_FAULT"))
      std::sscanf(text, "%15[^:]:%d:%15[^:]:%7s", call, &n, action, more);
  }
  bool is(const char* wanted) const { return std::strcmp(action, wanted) == 0; }
};

const Fault& fault() {
  static const Fault kFault;
  return kFault;
}

void log_call(const char* call, const char* path) {
  char line[4200];
  const int size = std::snprintf(line, sizeof line, "%s %s\n", call, path);
  const long fd = ::syscall(SYS_openat, AT_FDCWD, fault().log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  ::syscall(SYS_write, fd, line, static_cast<size_t>(size));
  ::syscall(SYS_close, fd);
}

enum class Verdict { kPass, kFail, kShort, kHalfway };

void die() { ::kill(::getpid(), SIGKILL); }

Verdict judge(const char* call, const char* path) {
  static std::atomic<int> seen = 0;
  const Fault& f = fault();
  if (f.in == nullptr || std::strstr(path, f.in) == nullptr) return Verdict::kPass;
  if (f.log != nullptr) log_call(call, path);
  if (std::strcmp(f.call, "any") != 0 && std::strcmp(f.call, call) != 0) return Verdict::kPass;
  const int n = ++seen;
  if (n != f.n && !(n > f.n && std::strcmp(f.more, "on") == 0)) return Verdict::kPass;
  const bool writes = std::strcmp(call, "write") == 0;
  if (f.is("kill")) die();
  if (f.is("stop")) ::raise(SIGSTOP);
  if (f.is("delay")) ::usleep(2000);
  if (f.is("SIGUSR1")) ::raise(SIGUSR1);
  if (f.is("halfway") && writes) return Verdict::kHalfway;
  if (f.is("short") && writes) return Verdict::kShort;
  if (f.is("ENOSPC") || f.is("EIO")) {
    errno = f.is("EIO") ? EIO : ENOSPC;
    return Verdict::kFail;
  }
  return Verdict::kPass;
}

bool passes(const char* call, const char* path) { return judge(call, path) == Verdict::kPass; }

// The path of an open file.
struct PathOf {
  char text[4096];
  explicit PathOf(int fd) {
    char link[32];
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t size = ::readlink(link, text, sizeof text - 1);
    text[size < 0 ? 0 : size] = '\0';
  }
};

template <typename F>
F* next(const char* symbol) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, symbol));
}

ssize_t write_at(ssize_t (*real)(int, const void*, size_t, off_t), int fd, const void* data, size_t size,
                 off_t at) {
  switch (judge("write", PathOf(fd).text)) {
    case Verdict::kFail:
      return -1;
    case Verdict::kShort:
      return real(fd, data, (size + 1) / 2, at);
    case Verdict::kHalfway:
      real(fd, data, size / 2, at);
      die();
      [[fallthrough]];
    default:
      return real(fd, data, size, at);
  }
}

mode_t mode_of(int flags, va_list arguments) { return (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0; }

}  // namespace

extern "C" {

#define OPEN(symbol)                                                     \
  int symbol(const char* path, int flags, ...) {                         \
    static auto* const real = next<int(const char*, int, ...)>(#symbol); \
    va_list arguments;                                                   \
    va_start(arguments, flags);                                          \
    const mode_t mode = mode_of(flags, arguments);                       \
    va_end(arguments);                                                   \
    return passes("open", path) ? real(path, flags, mode) : -1;          \
  }
OPEN(open)
OPEN(open64)

#define PWRITE(symbol)                                                                 \
  ssize_t symbol(int fd, const void* data, size_t size, off_t at) {                    \
    static auto* const real = next<ssize_t(int, const void*, size_t, off_t)>(#symbol); \
    return write_at(real, fd, data, size, at);                                         \
  }
PWRITE(pwrite)
PWRITE(pwrite64)

#define PREAD(symbol)                                                            \
  ssize_t symbol(int fd, void* data, size_t size, off_t at) {                    \
    static auto* const real = next<ssize_t(int, void*, size_t, off_t)>(#symbol); \
    return passes("read", PathOf(fd).text) ? real(fd, data, size, at) : -1;      \
  }
PREAD(pread)
PREAD(pread64)

int fsync(int fd) {
  static auto* const real = next<int(int)>("fsync");
  return passes("fsync", PathOf(fd).text) ? real(fd) : -1;
}

#define FTRUNCATE(symbol)                                             \
  int symbol(int fd, off_t size) noexcept {                           \
    static auto* const real = next<int(int, off_t)>(#symbol);         \
    return passes("truncate", PathOf(fd).text) ? real(fd, size) : -1; \
  }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

int rename(const char* from, const char* to) noexcept {
  static auto* const real = next<int(const char*, const char*)>("rename");
  return passes("rename", to) ? real(from, to) : -1;
}

int unlink(const char* path) noexcept {
  static auto* const real = next<int(const char*)>("unlink");
  return passes("unlink", path) ? real(path) : -1;
}

int rmdir(const char* path) noexcept {
  static auto* const real = next<int(const char*)>("rmdir");
  return passes("unlink", path) ? real(path) : -1;
}

int mkdir(const char* path, mode_t mode) noexcept {
  static auto* const real = next<int(const char*, mode_t)>("mkdir");
  return passes("mkdir", path) ? real(path, mode) : -1;
}

__attribute__((constructor)) static void before_main() { judge("main", "main"); }

int MPI_Init_thread(int* argc, char*** argv, int required, int* provided) {
  static auto* const real = next<int(int*, char***, int, int*)>("MPI_Init_thread");
  judge("MPI_Init_thread", "MPI_Init_thread");
  return real(argc, argv, required, provided);
}

int MPI_Comm_split(MPI_Comm whole, int color, int key, MPI_Comm* part) {
  static auto* const real = next<int(MPI_Comm, int, int, MPI_Comm*)>("MPI_Comm_split");
  judge("MPI_Comm_split", "MPI_Comm_split");
  return real(whole, color, key, part);
}

int MPI_Isend(const void* data, int count, MPI_Datatype type, int peer, int tag, MPI_Comm group,
              MPI_Request* request) {
  static auto* const real =
      next<int(const void*, int, MPI_Datatype, int, int, MPI_Comm, MPI_Request*)>("MPI_Isend");
  judge("MPI_Isend", "MPI_Isend");
  return real(data, count, type, peer, tag, group, request);
}

int MPI_Finalize() {
  static auto* const real = next<int()>("MPI_Finalize");
  judge("MPI_Finalize", "MPI_Finalize");
  return real();
}

int link(const char* from, const char* to) noexcept {
  static auto* const real = next<int(const char*, const char*)>("link");
  return passes("link", to) ? real(from, to) : -1;
}

DIR* opendir(const char* path) {
  static auto* const real = next<DIR*(const char*)>("opendir");
  return passes("list", path) ? real(path) : nullptr;
}

#define READDIR(symbol, entry)                                                    \
  entry* symbol(DIR* folder) {                                                    \
    static auto* const real = next<entry*(DIR*)>(#symbol);                        \
    return passes("list", PathOf(::dirfd(folder)).text) ? real(folder) : nullptr; \
  }
READDIR(readdir, dirent)
READDIR(readdir64, dirent64)

#define STAT(symbol, info)                                                   \
  int symbol(const char* path, struct info* to) noexcept {                   \
    static auto* const real = next<int(const char*, struct info*)>(#symbol); \
    return passes("stat", path) ? real(path, to) : -1;                       \
  }
STAT(stat, stat)
STAT(stat64, stat64)
STAT(lstat, stat)
STAT(lstat64, stat64)

}  // extern "C"
