#include "runtime/failure/rank_status.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <tuple>
#include <type_traits>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "base/own_file.h"

namespace trine {
namespace {

// The file is these structs, read by programs of the same build only.
constexpr uint64_t kMagic = 0x33544154532d5254;  // "TR-STAT3"
constexpr std::string_view kOurs = "TR-STAT";    // what files of all builds begin with

// A text of fixed space, cut to fit.
template <size_t kBytes>
struct Text {
  std::array<char, kBytes> bytes{};

  Text& operator=(std::string_view text) {
    bytes = {};
    std::memcpy(bytes.data(), text.data(), std::min(text.size(), kBytes - 1));
    return *this;
  }
  std::string str() const { return std::string(bytes.data(), ::strnlen(bytes.data(), kBytes)); }
};

// A value that one thread changes while others, in other processes too, read it whole. Two copies: the version says
// which one counts, the other one is changed, then the version steps on. So a writer that is preempted, stopped, or
// killed halfway leaves the value before. The words are atomics stored with release and loaded with acquire: a
// reader that saw a word of a later change sees the later version too, without fences.
template <typename T>
class alignas(64) SharedValue {
 public:
  SharedValue() {
    change([](T& value) { value = T(); });
  }
  template <typename F>
  void change(F f) {
    const uint64_t version = version_.load(std::memory_order_relaxed);
    T value = copy(version);
    f(value);
    Words words{};
    std::memcpy(words.data(), &value, sizeof(T));
    for (size_t i = 0; i < words.size(); ++i) {
      copies_[(version + 1) % 2][i].store(words[i], std::memory_order_release);
    }
    version_.store(version + 1, std::memory_order_release);
  }
  T load() const {
    while (true) {  // again only after a whole change
      const uint64_t version = version_.load(std::memory_order_acquire);
      const T value = copy(version);
      if (version_.load(std::memory_order_relaxed) == version) return value;
    }
  }

 private:
  using Words = std::array<uint64_t, (sizeof(T) + 7) / 8>;
  static_assert(std::is_trivially_copyable_v<T> && std::atomic<uint64_t>::is_always_lock_free);

  T copy(uint64_t version) const {
    Words words;
    for (size_t i = 0; i < words.size(); ++i) words[i] = copies_[version % 2][i].load(std::memory_order_acquire);
    T value;
    std::memcpy(static_cast<void*>(&value), words.data(), sizeof(T));
    return value;
  }

  std::atomic<uint64_t> version_ = 0;
  std::array<std::array<std::atomic<uint64_t>, std::tuple_size_v<Words>>, 2> copies_{};
};

struct Progress {
  int64_t step = 0;
  int32_t node = -1;
  Text<16> action;
  Text<24> op;
};

struct Wait {
  int64_t sequence = 0, since_ns = 0;
  int32_t peer = -1;  // -1: does not wait
  Text<24> op;
};

struct StatusPage {
  std::atomic<uint64_t> magic = 0;  // stored last: before, there is nothing to read. The next six do not change
  uint64_t run = 0;
  int32_t rank = 0;
  int32_t pid = 0;
  uint64_t start_time = 0;
  Text<64> host;
  Text<72> space;
  std::atomic<RankEnd> end = RankEnd::kNone;
  SharedValue<Progress> progress;
  std::array<SharedValue<Wait>, kGroups.size()> waits;
};

std::filesystem::path status_file(const std::filesystem::path& run_folder, int rank) {
  return status_folder(run_folder) / fmt::format("rank-{:04}", rank);
}

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& reason) {
  throw DataError(
      fmt::format("[status] {} cannot be made: {}. Mend that, or choose another --out.", path.string(), reason));
}

// The rank that a name stands for, if it is one that we give.
std::optional<int> rank_of_name(std::string_view name) {
  int rank = 0;
  if (!name.starts_with("rank-") || name.size() < 9) return std::nullopt;
  const auto [end, error] = std::from_chars(name.data() + 5, name.data() + name.size(), rank);
  return error == std::errc{} && end == name.data() + name.size() && rank >= 0 ? std::optional(rank) : std::nullopt;
}

// A folder of that name, no link to one: all that is removed is removed through it.
class StatusFolder {
 public:
  explicit StatusFolder(const std::filesystem::path& path) : path_(path) {
    if (::mkdir(path.c_str(), 0777) != 0 && errno != EEXIST) fail(path, std::strerror(errno));
    fd_ = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd_ < 0) fail(path, "there is something else than a folder, or a link");
  }
  StatusFolder(const StatusFolder&) = delete;
  ~StatusFolder() { ::close(fd_); }

  // The status of an earlier run, or one that was cut off while it was made: empty, or all zero.
  bool is_old_status(const std::string& name) const {
    const int file = ::openat(fd_, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) return false;
    std::array<char, sizeof(StatusPage) + 1> bytes{};
    const ssize_t size = is_regular(file) ? ::pread(file, bytes.data(), bytes.size(), 0) : -1;
    ::close(file);
    const std::string_view text(bytes.data(), static_cast<size_t>(std::max<ssize_t>(size, 0)));
    return size == 0 || text.starts_with(kOurs) ||
           (size == sizeof(StatusPage) && text.find_first_not_of('\0') == text.npos);
  }
  void remove(const std::string& name) const { ::unlinkat(fd_, name.c_str(), 0); }

  // A new file, in place of an earlier run's. -1: errno says why not.
  int create(const std::string& name) const {
    if (is_old_status(name)) remove(name);
    return ::openat(fd_, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  }

  // What an earlier run left and this one will not replace.
  void remove_leftovers(int num_ranks) const {
    std::error_code error;
    for (std::filesystem::directory_iterator it(path_, error), end; !error && it != end; it.increment(error)) {
      const std::string name = it->path().filename();
      const std::optional<int> rank = rank_of_name(name);
      if (rank && *rank >= num_ranks && is_old_status(name)) remove(name);
    }
  }

 private:
  const std::filesystem::path path_;
  int fd_;
};

}  // namespace

struct StatusWriter::Mapping {
  explicit Mapping(const std::filesystem::path& path) : folder(path.parent_path()) {
    const std::string name = path.filename();
    fd = folder.create(name);
    if (fd < 0) fail(path, errno == EEXIST ? "there is a file that is not Trine's" : std::strerror(errno));
    // All of it now: a later write to a full disk would be SIGBUS.
    int error = ::posix_fallocate(fd, 0, sizeof(StatusPage));
    void* memory = MAP_FAILED;
    if (error == 0) {
      memory = ::mmap(nullptr, sizeof(StatusPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      if (memory == MAP_FAILED) error = errno;
    }
    if (error != 0) {
      folder.remove(name);
      ::close(fd);
      fail(path, std::strerror(error));
    }
    page = new (memory) StatusPage;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    ::munmap(page, sizeof(StatusPage));
    ::close(fd);
  }

  StatusFolder folder;
  int fd;
  StatusPage* page;
};

class StatusWriter::WaitSlot final : public WaitObserver {
 public:
  explicit WaitSlot(SharedValue<Wait>& wait) : wait_(wait) {}
  void wait_begins(std::string_view op, int64_t sequence, int peer) override {
    wait_.change([&](Wait& wait) {
      wait.sequence = sequence;
      wait.since_ns = now_ns();
      wait.peer = peer;
      wait.op = op;
    });
  }
  void wait_ends() override {
    wait_.change([](Wait& wait) { wait.peer = -1; });
  }

 private:
  SharedValue<Wait>& wait_;
};

StatusWriter::StatusWriter(const std::filesystem::path& run_folder, int rank, int num_ranks, uint64_t run)
    : run_folder_(run_folder),
      path_(status_file(run_folder, rank)),
      rank_(rank),
      num_ranks_(num_ranks),
      exceptions_at_start_(std::uncaught_exceptions()),
      run_(run) {
  mapping_ = std::make_unique<Mapping>(path_);
  StatusPage& page = *mapping_->page;
  const ProcessIdentity own = ProcessIdentity::own();
  page.run = run;
  page.rank = rank;
  page.pid = own.pid;
  page.start_time = own.start_time;
  page.host = own.host;
  page.space = own.space;
  for (const Group group : kGroups) {
    const auto i = static_cast<size_t>(group);
    wait_slots_[i] = std::make_unique<WaitSlot>(page.waits[i]);
  }
  page.magic.store(kMagic, std::memory_order_release);
  if (rank == 0) mapping_->folder.remove_leftovers(num_ranks);
}

StatusWriter::~StatusWriter() {
  if (std::uncaught_exceptions() > exceptions_at_start_) {
    set_end(RankEnd::kFailed);
    return;
  }
  if (stands_at(mapping_->fd, path_)) mapping_->folder.remove(path_.filename());
  ::rmdir(path_.parent_path().c_str());  // by the last one
}

void StatusWriter::set_step(int64_t step) {
  mapping_->page->progress.change([&](Progress& progress) { progress.step = step; });
}

void StatusWriter::set_action(std::string_view action) {
  mapping_->page->progress.change([&](Progress& progress) {
    progress.action = action;
    progress.node = -1;
    progress.op = "";
  });
}

void StatusWriter::set_node(int node, std::string_view op) {
  mapping_->page->progress.change([&](Progress& progress) {
    progress.node = node;
    progress.op = op;
  });
}

void StatusWriter::set_end(RankEnd end) { mapping_->page->end.store(end, std::memory_order_release); }

WaitObserver& StatusWriter::waits(Group group) { return *wait_slots_[static_cast<size_t>(group)]; }

void StatusWriter::observe(CommWorld& world) {
  for (const Group group : kGroups) world[group].observe(&waits(group));
}

std::filesystem::path status_folder(const std::filesystem::path& run_folder) { return run_folder / "status"; }

std::optional<RankStatus> read_status(const std::filesystem::path& run_folder, int rank,
                                      std::optional<uint64_t> run) try {
  // A file that is cut or lost meanwhile is worth no process: then its page is empty.
  const MappedFile file(status_file(run_folder, rank), MappedFile::OnLoss::kEmptyPage);
  if (file.size() != sizeof(StatusPage)) return std::nullopt;
  const auto& page = *reinterpret_cast<const StatusPage*>(file.bytes().data());
  if (page.magic.load(std::memory_order_acquire) != kMagic || page.rank != rank) return std::nullopt;
  if (run && page.run != *run) return std::nullopt;
  const Progress progress = page.progress.load();
  RankStatus status{.rank = rank,
                    .process = {page.pid, page.start_time, page.host.str(), page.space.str()},
                    .step = progress.step,
                    .action = progress.action.str(),
                    .node = progress.node,
                    .op = progress.op.str()};
  for (const Group group : kGroups) {
    const Wait wait = page.waits[static_cast<size_t>(group)].load();
    if (wait.peer >= 0) status.waits.push_back({group, wait.op.str(), wait.sequence, wait.peer, wait.since_ns});
  }
  // The end after the process: a process that is gone has set it before.
  status.state = process_state(status.process);
  status.end = page.end.load(std::memory_order_acquire);
  return status;
} catch (const DataError&) {
  return std::nullopt;
}

std::vector<RankStatus> read_all_status(const std::filesystem::path& run_folder, int num_ranks,
                                        std::optional<uint64_t> run) {
  std::vector<RankStatus> all;
  for (int rank = 0; rank < num_ranks; ++rank) {
    if (std::optional<RankStatus> status = read_status(run_folder, rank, run)) all.push_back(std::move(*status));
  }
  return all;
}

}  // namespace trine
