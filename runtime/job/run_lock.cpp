#include "runtime/job/run_lock.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <random>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/own_file.h"
#include "runtime/failure/process_state.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

using std::chrono::milliseconds;

constexpr std::chrono::seconds kSurelyOver{600};  // without a touch
constexpr size_t kMostBytes = 4096;

struct Holder {
  ProcessIdentity process;
  std::string started;
  uint64_t number = 0;
};

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", ::gmtime_r(&now, &parts));
  return text;
}

std::string lock_text(const Holder& holder) {
  const nlohmann::ordered_json json = {{"host", holder.process.host},
                                       {"pid", holder.process.pid},
                                       {"start_time", holder.process.start_time},
                                       {"started", holder.started},
                                       {"space", holder.process.space},
                                       {"number", fmt::format("{:016x}", holder.number)}};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// Nullopt: errno says why not. That is not a lock that nobody has.
std::optional<std::string> read_all(int fd) {
  std::string text(kMostBytes, '\0');
  const ssize_t size = ::pread(fd, text.data(), text.size(), 0);
  if (size < 0) return std::nullopt;
  text.resize(static_cast<size_t>(size));
  return text;
}

std::optional<Holder> parse_lock(const std::string& text) {
  Holder holder;
  try {
    const nlohmann::json json = parse_json(text);
    holder.process = {json.at("pid").get<pid_t>(), json.at("start_time").get<uint64_t>(),
                      json.at("host").get<std::string>(), json.at("space").get<std::string>()};
    holder.started = json.at("started").get<std::string>();
    const auto number = json.at("number").get<std::string>();
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), holder.number, 16);
    if (error != std::errc{} || number.size() != 16 || end != number.data() + number.size()) return std::nullopt;
  } catch (const JsonError&) {
    return std::nullopt;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
  return holder;
}

std::optional<Holder> read_lock(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  const std::optional<std::string> text = is_regular(fd) ? read_all(fd) : std::nullopt;
  const std::optional<Holder> holder = text ? parse_lock(*text) : std::nullopt;
  ::close(fd);
  return holder;
}

struct stat stat_of(int fd) {
  struct stat info {};
  (void)::fstat(fd, &info);
  return info;
}

bool same_time(const timespec& a, const timespec& b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

// Looks for `patience` whether somebody touches the lock: for holders whose process cannot be seen from here.
// Opened anew each time, because that is when a network file system asks its server.
bool is_touched(const fs::path& path, int fd, milliseconds patience) {
  const timespec before = stat_of(fd).st_mtim;
  if (std::time(nullptr) - before.tv_sec > kSurelyOver.count()) return false;
  const int64_t begin_ns = now_ns();
  while (std::chrono::nanoseconds(now_ns() - begin_ns) < patience) {
    std::this_thread::sleep_for(std::min(patience, milliseconds(100)));
    const int again = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (again < 0 && errno == ENOENT) return false;  // it is gone
    if (again < 0) return true;                      // nobody can say; who waits for it loses nothing
    const bool touched = !same_time(stat_of(again).st_mtim, before);
    ::close(again);
    if (touched) return true;
  }
  return false;
}

[[noreturn]] void refuse(const fs::path& path, const std::optional<Holder>& holder) {
  const std::string who = holder ? fmt::format("another job (process {} on {}, since {})", holder->process.pid,
                                               holder->process.host, holder->started)
                                 : std::string("another job");
  throw LockedError(
      fmt::format("[run folder] {} has {}: two would write over each other. Wait for it or stop it, or "
                  "choose another --out. If it surely runs no more, remove {}.",
                  path.parent_path().string(), who, path.string()));
}

[[noreturn]] void fail(const fs::path& path, const std::string& problem) {
  throw DataError(fmt::format("[run folder] {} cannot be used: {}. Mend that, or choose another --out.",
                              path.string(), problem));
}

}  // namespace

RunLock::RunLock(const fs::path& folder, milliseconds patience) : path_(folder / "lock") {
  while (true) {
    std::string problem;
    const int fd = open_own_file(path_, O_RDWR, problem);
    if (fd < 0) fail(path_, problem);
    // flock: who decides about the lock does so alone, and who has it keeps that.
    bool held = ::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    const std::optional<std::string> text = read_all(fd);
    if (!text) {
      problem = std::strerror(errno);
      ::close(fd);
      fail(path_, "it cannot be read: " + problem);
    }
    const std::optional<Holder> holder = parse_lock(*text);
    if (!held && holder) {
      const ProcessState state = process_state(holder->process);
      held = state == ProcessState::kElsewhere ? is_touched(path_, fd, patience) : state != ProcessState::kDead;
    }
    if (!held && !holder && !text->empty()) {
      ::close(fd);
      throw ConfigError(
          fmt::format("[run folder] {} is not Trine's: nothing is written over it. Remove it, or "
                      "choose another --out.",
                      path_.string()));
    }
    const bool stands = stands_at(fd, path_);
    if (!held && stands) {
      fd_ = fd;
      break;
    }
    ::close(fd);
    if (held) refuse(path_, holder);
    // Its holder removed it just now: again.
  }
  std::random_device random;
  number_ = (uint64_t{random()} << 32) | random();
  const std::string own = lock_text({ProcessIdentity::own(), now_text(), number_});
  if (::pwrite(fd_, own.data(), own.size(), 0) != std::ssize(own) || ::ftruncate(fd_, std::ssize(own)) != 0) {
    const std::string problem = std::strerror(errno);
    ::unlink(path_.c_str());
    ::close(fd_);
    fail(path_, problem);
  }
  thread_ = std::thread([this] { keep_touching(); });
}

RunLock::~RunLock() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  end_.notify_all();
  thread_.join();
  if (stands_at(fd_, path_)) ::unlink(path_.c_str());
  ::close(fd_);
}

void RunLock::keep_touching() {
  std::unique_lock lock(mutex_);
  while (!end_.wait_for(lock, kTouch, [&] { return ends_; })) (void)::futimens(fd_, nullptr);
}

std::optional<uint64_t> lock_number(const fs::path& folder) {
  // Opened, a folder is asked for anew: on a network file system others may have changed it.
  for (const fs::path& asked : {folder.has_parent_path() ? folder.parent_path() : fs::path("."), folder}) {
    const int fd = ::open(asked.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) ::close(fd);
  }
  const auto holder = read_lock(folder / "lock");
  return holder ? std::optional(holder->number) : std::nullopt;
}

bool has_lock(const fs::path& folder) { return read_lock(folder / "lock").has_value(); }

}  // namespace trine
