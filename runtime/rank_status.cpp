#include "runtime/rank_status.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <tuple>
#include <type_traits>
#include <unistd.h>

#include "base/error.h"
#include "base/mapped_file.h"

namespace trine {
namespace {

// The file is these structs, read by programs of the same build only.
constexpr uint64_t kMagic = 0x32544154532d5254;  // "TR-STAT2"

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
  uint64_t magic = kMagic;  // this and the next five do not change
  int32_t rank = 0;
  int32_t pid = 0;
  uint64_t start_time = 0;
  Text<64> host;
  Text<72> space;
  std::atomic<RankEnd> end = RankEnd::kNone;
  SharedValue<Progress> progress;
  std::array<SharedValue<Wait>, kGroups.size()> waits;
};

int64_t monotonic_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

std::filesystem::path status_file(const std::filesystem::path& run_folder, int rank) {
  return status_folder(run_folder) / fmt::format("rank-{:04}", rank);
}

[[noreturn]] void fail(const std::filesystem::path& path, int error) {
  throw DataError(fmt::format("[status] {} cannot be made: {}. Free some space, or choose another --out.",
                              path.string(), std::strerror(error)));
}

// Removes what an earlier run in this folder left and this one will not replace.
void remove_leftovers(const std::filesystem::path& folder, int num_ranks) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename();
    int rank = num_ranks;
    if (name.starts_with("rank-")) std::from_chars(name.data() + 5, name.data() + name.size(), rank);
    if (rank >= num_ranks) std::filesystem::remove(entry.path(), ignored);
  }
}

}  // namespace

struct StatusWriter::Mapping {
  explicit Mapping(const std::filesystem::path& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) fail(path, errno);
    // All of it now: a later write to a full disk would be SIGBUS.
    int error = ::posix_fallocate(fd, 0, sizeof(StatusPage));
    void* memory = MAP_FAILED;
    if (error == 0) {
      memory = ::mmap(nullptr, sizeof(StatusPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      if (memory == MAP_FAILED) error = errno;
    }
    ::close(fd);
    if (error != 0) {
      ::unlink(path.c_str());
      fail(path, error);
    }
    page = new (memory) StatusPage;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { ::munmap(page, sizeof(StatusPage)); }

  StatusPage* page;
};

class StatusWriter::WaitSlot final : public WaitObserver {
 public:
  explicit WaitSlot(SharedValue<Wait>& wait) : wait_(wait) {}
  void wait_begins(std::string_view op, int64_t sequence, int peer) override {
    wait_.change([&](Wait& wait) {
      wait.sequence = sequence;
      wait.since_ns = monotonic_ns();
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

StatusWriter::StatusWriter(const std::filesystem::path& run_folder, int rank, int num_ranks)
    : run_folder_(run_folder),
      path_(status_file(run_folder, rank)),
      rank_(rank),
      num_ranks_(num_ranks),
      exceptions_at_start_(std::uncaught_exceptions()) {
  std::error_code error;
  std::filesystem::create_directories(path_.parent_path(), error);  // its failure shows in the next line
  const std::string scratch = path_.string() + ".new";              // nobody reads a header half written
  mapping_ = std::make_unique<Mapping>(scratch);
  StatusPage& page = *mapping_->page;
  const ProcessIdentity own = ProcessIdentity::own();
  page.rank = rank;
  page.pid = own.pid;
  page.start_time = own.start_time;
  page.host = own.host;
  page.space = own.space;
  for (const Group group : kGroups) {
    const auto i = static_cast<size_t>(group);
    wait_slots_[i] = std::make_unique<WaitSlot>(page.waits[i]);
  }
  if (::rename(scratch.c_str(), path_.c_str()) != 0) fail(path_, errno);
  if (rank == 0) remove_leftovers(path_.parent_path(), num_ranks);
}

StatusWriter::~StatusWriter() {
  if (std::uncaught_exceptions() > exceptions_at_start_) {
    set_end(RankEnd::kFailed);
    return;
  }
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
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

std::optional<RankStatus> read_status(const std::filesystem::path& run_folder, int rank) try {
  // A file that is cut or lost meanwhile is worth no process: then its page is empty.
  const MappedFile file(status_file(run_folder, rank), MappedFile::OnLoss::kEmptyPage);
  if (file.size() != sizeof(StatusPage)) return std::nullopt;
  const auto& page = *reinterpret_cast<const StatusPage*>(file.bytes().data());
  if (page.magic != kMagic || page.rank != rank) return std::nullopt;
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

std::vector<RankStatus> read_all_status(const std::filesystem::path& run_folder, int num_ranks) {
  std::vector<RankStatus> all;
  for (int rank = 0; rank < num_ranks; ++rank) {
    if (std::optional<RankStatus> status = read_status(run_folder, rank)) all.push_back(std::move(*status));
  }
  return all;
}

}  // namespace trine
