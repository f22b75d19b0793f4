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
#include <thread>
#include <unistd.h>

#include "base/error.h"
#include "base/mapped_file.h"

namespace trine {
namespace {

// The file is these structs, read by programs of the same build only.
constexpr uint64_t kMagic = 0x31544154532d5254;  // "TR-STAT1"

// Text in words that can be stored while somebody reads.
template <size_t kBytes>
class SharedText {
 public:
  void store(std::string_view text) {
    std::array<uint64_t, kBytes / 8> words{};
    std::memcpy(words.data(), text.data(), std::min(text.size(), kBytes - 1));
    for (size_t i = 0; i < words.size(); ++i) words_[i].store(words[i], std::memory_order_release);
  }
  std::string load() const {
    std::array<char, kBytes> text;
    for (size_t i = 0; i < words_.size(); ++i) {
      const uint64_t word = words_[i].load(std::memory_order_acquire);
      std::memcpy(&text[i * 8], &word, 8);
    }
    return std::string(text.data(), ::strnlen(text.data(), kBytes));
  }

 private:
  static_assert(kBytes % 8 == 0 && std::atomic<uint64_t>::is_always_lock_free);
  std::array<std::atomic<uint64_t>, kBytes / 8> words_{};
};

template <typename T>
void store(std::atomic<T>& field, std::type_identity_t<T> value) {
  field.store(value, std::memory_order_release);
}
template <typename T>
T load(const std::atomic<T>& field) {
  return field.load(std::memory_order_acquire);
}

// A sequence lock with one writer: its version is odd while the fields change. Fields are atomics stored with
// release and loaded with acquire, which orders them against the version without fences.
class SequenceLock {
 public:
  template <typename F>
  void write(F change) {
    const uint32_t version = version_.load(std::memory_order_relaxed);
    version_.store(version + 1, std::memory_order_relaxed);
    change();
    version_.store(version + 2, std::memory_order_release);
  }
  // A writer that was killed or stopped halfway leaves an odd version: then the fields are taken as they are.
  template <typename F>
  auto read(F copy) const {
    for (int attempt = 0; attempt < 1000; ++attempt) {
      const uint32_t before = version_.load(std::memory_order_acquire);
      auto result = copy();
      if (before % 2 == 0 && version_.load(std::memory_order_relaxed) == before) return result;
      std::this_thread::yield();
    }
    return copy();
  }

 private:
  std::atomic<uint32_t> version_ = 0;
};

struct alignas(64) ProgressPage {
  SequenceLock lock;
  std::atomic<int32_t> node = -1;
  std::atomic<int64_t> step = 0;
  SharedText<16> action;
  SharedText<24> op;
};

struct alignas(64) WaitPage {
  SequenceLock lock;
  std::atomic<int32_t> peer = -1;  // -1: does not wait
  std::atomic<int64_t> sequence = 0, since_ns = 0;
  SharedText<24> op;
};

struct StatusPage {
  uint64_t magic = kMagic;  // this and the next five do not change
  int32_t rank = 0;
  int32_t pid = 0;
  uint64_t start_time = 0;
  SharedText<64> host;
  SharedText<72> space;
  std::atomic<int32_t> end = 0;
  ProgressPage progress;
  std::array<WaitPage, kGroups.size()> waits;
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

std::optional<WaitStatus> read_wait(const WaitPage& page, Group group) {
  WaitStatus wait = page.lock.read([&] {
    return WaitStatus{group, page.op.load(), load(page.sequence), load(page.peer), load(page.since_ns)};
  });
  if (wait.peer < 0) return std::nullopt;
  return wait;
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
  explicit WaitSlot(WaitPage& page) : page_(page) {}
  void wait_begins(std::string_view op, int64_t sequence, int peer) override {
    page_.lock.write([&] {
      page_.op.store(op);
      store(page_.sequence, sequence);
      store(page_.since_ns, monotonic_ns());
      store(page_.peer, peer);
    });
  }
  void wait_ends() override {
    page_.lock.write([&] { store(page_.peer, -1); });
  }

 private:
  WaitPage& page_;
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
  page.host.store(own.host);
  page.space.store(own.space);
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

void StatusWriter::set_step(int64_t step) { store(mapping_->page->progress.step, step); }

void StatusWriter::set_action(std::string_view action) {
  ProgressPage& progress = mapping_->page->progress;
  progress.lock.write([&] {
    progress.action.store(action);
    store(progress.node, -1);
    progress.op.store("");
  });
}

void StatusWriter::set_node(int node, std::string_view op) {
  ProgressPage& progress = mapping_->page->progress;
  progress.lock.write([&] {
    store(progress.node, node);
    progress.op.store(op);
  });
}

void StatusWriter::set_end(RankEnd end) { store(mapping_->page->end, static_cast<int>(end)); }

WaitObserver& StatusWriter::waits(Group group) { return *wait_slots_[static_cast<size_t>(group)]; }

void StatusWriter::observe(CommWorld& world) {
  for (const Group group : kGroups) world[group].observe(&waits(group));
}

std::filesystem::path status_folder(const std::filesystem::path& run_folder) { return run_folder / "status"; }

std::optional<RankStatus> read_status(const std::filesystem::path& run_folder, int rank) try {
  const MappedFile file(status_file(run_folder, rank));
  if (file.size() != sizeof(StatusPage)) return std::nullopt;
  const auto& page = *reinterpret_cast<const StatusPage*>(file.bytes().data());
  if (page.magic != kMagic || page.rank != rank) return std::nullopt;
  const ProgressPage& progress = page.progress;
  RankStatus status = progress.lock.read([&] {
    return RankStatus{.rank = rank,
                      .process = {page.pid, page.start_time, page.host.load(), page.space.load()},
                      .step = load(progress.step),
                      .action = progress.action.load(),
                      .node = load(progress.node),
                      .op = progress.op.load()};
  });
  for (const Group group : kGroups) {
    if (const auto wait = read_wait(page.waits[static_cast<size_t>(group)], group)) status.waits.push_back(*wait);
  }
  // The end after the process: a process that is gone has set it before.
  status.state = process_state(status.process);
  status.end = static_cast<RankEnd>(load(page.end));
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
