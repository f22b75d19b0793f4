#include "runtime/job/run_start.h"

#include <algorithm>
#include <functional>
#include <future>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include "base/clock.h"
#include "base/file_system.h"
#include "plan/config/flags.h"
#include "runtime/job/agreement.h"
#include "runtime/training/saver.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

constexpr std::chrono::milliseconds kLongestPause{100};

// run_on_first of what may take longer than --timeout: to see whether another job lives.
// The others ask again and again.
void run_patiently_on_first(Communicator* world, const std::function<void()>& body) {
  if (world == nullptr) return body();
  std::future<void> done;
  if (world->rank() == 0) done = std::async(std::launch::async, body);
  bool ready = false;
  for (auto pause = std::chrono::milliseconds(1); !ready; pause = std::min(2 * pause, kLongestPause)) {
    const int own = world->rank() == 0 && done.wait_for(pause) == std::future_status::ready ? 1 : 0;
    if (world->rank() != 0) std::this_thread::sleep_for(pause);
    ready = gather_all(world, own)[0] != 0;
  }
  run_on_first(world, [&] { done.get(); });
}

// What a run adds to for days is worth a word at its start.
void require_own_files(const RunFolder& folder) {
  std::error_code error;
  for (const fs::path& file : {folder.metrics(), folder.log()})
    if (fs::is_symlink(fs::symlink_status(file, error)))
      throw ConfigError(
          fmt::format("[run folder] {} is a link, and what a run writes stands in files of its own. "
                      "Remove it, or choose another --out.",
                      file.string()));
}

bool comes_to_see(const fs::path& folder, uint64_t number, std::chrono::milliseconds patience) {
  const int64_t begin_ns = now_ns();
  while (lock_number(folder) != number) {
    if (std::chrono::nanoseconds(now_ns() - begin_ns) >= patience) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

struct Sight {
  char host[64] = {};
  bool sees = false;
};

// "rank 2 (on b), rank 3 (on b)"
std::string blind_ranks(const std::vector<Sight>& sights) {
  constexpr int kMostNames = 8;
  std::string text;
  int num = 0;
  for (size_t rank = 0; rank < sights.size(); ++rank) {
    if (sights[rank].sees || ++num > kMostNames) continue;
    text += fmt::format("{}rank {} (on {})", text.empty() ? "" : ", ", rank, sights[rank].host);
  }
  return num > kMostNames ? fmt::format("{} and {} more", text, num - kMostNames) : text;
}

}  // namespace

void require_shared(Communicator* world, const fs::path& folder, uint64_t number, const char* flag,
                    std::chrono::milliseconds patience) {
  if (world == nullptr) return;
  Sight own;
  ::gethostname(own.host, sizeof own.host - 1);
  own.sees = comes_to_see(folder, number, patience);
  const std::vector<Sight> sights = gather_all(world, own);
  const std::string blind = blind_ranks(sights);
  if (blind.empty()) return;
  throw AgreedError(
      ExitCode::kData,
      fmt::format(
          "[run folder] {} is not one folder for all ranks: rank 0 (on {}) wrote there, and {} cannot see it. "
          "Give {} a path on a file system that all hosts share; a relative one counts from where each host "
          "starts the program.",
          folder.string(), sights[0].host, blind, flag));
}

RunStart::RunStart(const Config& config, Communicator* world, std::chrono::milliseconds patience)
    : config_(config), world_(world) {
  run_patiently_on_first(world_, [&] {
    choose();
    require_own_files(RunFolder(run_->path()));
    lock_saves();
  });
  const bool first = run_.has_value();
  folder_.emplace(told_by_first(world_, first ? run_->path().string() : ""));
  number_ = gather_all(world_, first ? run_->number() : 0)[0];
  require_shared(world_, folder_->path(), number_, "--out", patience);
  made_ = gather_all(world_, first && run_->made() ? 1 : 0)[0] != 0;
  const std::string saves = told_by_first(world_, saves_ ? saves_->path().string() : "");
  const uint64_t saves_number = gather_all(world_, saves_ ? saves_->number() : 0)[0];
  if (!saves.empty()) require_shared(world_, saves, saves_number, "--save", patience);
}

RunStart::~RunStart() {
  run_.reset();
  if (made_) ::rmdir(folder_->path().c_str());  // only if it is empty
}

void RunStart::choose() {
  const bool found = !config_.resume_folder.empty() && same_place(config_.out, config_.resume_folder);
  // What begins with --resume auto is looked for under the same --out, so it may not be in another folder.
  const bool begins = config_.resume == "auto" && config_.resume_saves.empty();
  run_.emplace(found    ? LockedFolder::open_any(config_.out)
               : begins ? LockedFolder::open(config_.out)
                        : LockedFolder::create(config_.out));
}

// Of checkpoints that go elsewhere than into the run's folder: by --save, or through a link.
void RunStart::lock_saves() {
  if (!config_.saves()) return;
  const fs::path saves = saves_of(config_, run_->path());
  if (config_.save.empty() && !fs::is_symlink(saves)) return;
  // Those within a run's folder are under that one's lock.
  const fs::path above = (saves / "").lexically_normal().parent_path().parent_path();
  const fs::path& place = !config_.save.empty() && folder_kind(above) == FolderKind::kRun ? above : saves;
  if (!same_place(place, run_->path())) saves_.emplace(LockedFolder::open_any(place));
}

void RunStart::write_config() const {
  run_on_first(world_, [&] {
    claim_saves(config_, *folder_);
    folder_->write_config(to_json(kept_config(config_, *folder_)).dump(2) + "\n");
  });
}

}  // namespace trine
