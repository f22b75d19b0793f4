// Saves that are cut off or fail at every call that changes a file or looks at one: afterwards a whole checkpoint
// loads, the one of before or the new one.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <iostream>
#include <random>
#include <set>
#include <signal.h>
#include <span>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file_system.h"
#include "tests/checkpoint/fault_injection.h"
#include "tests/checkpoint/saved_model.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

namespace fs = std::filesystem;
using namespace testing;

const std::vector<SavedTensor> kTensors = {{"w", {5, 6}, 0}};
constexpr TestLayout kLayout = {2, 1, 1, true};

SaveOutcome save_small(const fs::path& folder, int64_t step, std::optional<int> keep = 2) {
  return save(folder, step, kLayout, keep, kTensors);
}

// A folder with steps 1 and 2.
struct Saved {
  Saved() {
    EXPECT_TRUE(save_small(scratch.path(), 1).ok);
    EXPECT_TRUE(save_small(scratch.path(), 2).ok);
  }
  // The step that loads; its every value is checked.
  int64_t newest() const {
    const CheckpointFolder folder(scratch.path());
    Checkpoint checkpoint(folder.newest_valid().path);
    const int64_t step = checkpoint.manifest().state.step;
    expect_state_of(checkpoint, step, kTensors);
    EXPECT_EQ(checkpoint.verify(), std::vector<std::string>{});
    return step;
  }
  // Two are to be kept, and there were two: so many load at any time.
  void expect_two_whole() const {
    const CheckpointFolder folder(scratch.path());
    int whole = 0;
    for (const Candidate& candidate : folder.candidates()) whole += folder.check_whole(candidate.path).empty();
    EXPECT_GE(whole, 2);
  }
  // Training goes on: the next save works and cleans up.
  void expect_recovery() const {
    const SaveOutcome outcome = save_small(scratch.path(), 9);
    EXPECT_TRUE(outcome.ok) << outcome.problem;
    EXPECT_TRUE(outcome.warnings.empty()) << outcome.warnings[0];
    EXPECT_EQ(newest(), 9);
    EXPECT_EQ(read_file(scratch / "latest"), "step-000009\n");
    EXPECT_EQ(scratch.names().size(), 3u);  // two checkpoints and latest
  }
  ScratchFolder scratch;
};

// How often a save of `step` makes each call.
std::vector<int> count_calls(int64_t step) {
  const Saved saved;
  arm({});
  EXPECT_TRUE(save_small(saved.scratch.path(), step).ok);
  std::vector<int> counts(std::size(kCalls) + std::size(kLooks));
  for (const Record& record : disarm()) ++counts[static_cast<size_t>(record.call)];
  return counts;
}

int run_in_child(const std::function<void()>& f) {
  const pid_t child = ::fork();
  if (child == 0) {
    f();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void die_at_every_call(int64_t step) {
  const std::vector<int> counts = count_calls(step);
  std::set<int64_t> loaded;
  int deaths = 0;
  for (Call call : kCalls) {
    ASSERT_GE(counts[static_cast<size_t>(call)], 1) << name(call);
    for (Fault::Action action : {Fault::Action::kDie, Fault::Action::kDieHalfway}) {
      if (action == Fault::Action::kDieHalfway && call != Call::kWrite) continue;
      for (int n = 1; n <= counts[static_cast<size_t>(call)]; ++n, ++deaths) {
        const Saved saved;
        const int status = run_in_child([&] {
          arm({call, n, action});
          save_small(saved.scratch.path(), step);
        });
        ASSERT_EQ(status, kDied) << name(call) << " " << n;
        const int64_t newest = saved.newest();
        EXPECT_TRUE(newest == 2 || newest == step) << newest;
        loaded.insert(newest);
        saved.expect_recovery();
        ASSERT_FALSE(::testing::Test::HasFailure()) << "died at " << name(call) << " " << n;
      }
    }
  }
  EXPECT_EQ(loaded.size(), step == 3 ? 2u : 1u);  // some before the commit, some after it
  EXPECT_GT(deaths, 40);
}

TEST(Torture, DiesAtEveryCallOfASave) { die_at_every_call(3); }
TEST(Torture, DiesAtEveryCallOfAReplacingSave) { die_at_every_call(2); }

int open_files() { return static_cast<int>(std::distance(fs::directory_iterator("/proc/self/fd"), {})); }

void check_failure(const Fault& fault, int64_t step) {
  const Saved saved;
  for (int again = 0; again < 2; ++again) {  // and once more in the recovery from the first
    arm(fault);
    const SaveOutcome outcome = save_small(saved.scratch.path(), step);
    disarm();
    const int64_t newest = saved.newest();
    EXPECT_EQ(newest, outcome.ok ? step : 2);
    saved.expect_two_whole();
    EXPECT_EQ(outcome.ok, outcome.problem.empty());
    if (fault.action == Fault::Action::kShort) {
      EXPECT_TRUE(outcome.ok) << outcome.problem;
    } else if (!outcome.ok) {
      EXPECT_NE(outcome.problem.find(std::strerror(fault.error)), std::string::npos) << outcome.problem;
      const bool changes = std::ranges::count(kCalls, fault.call) > 0;  // else nobody may see what to remove
      if (changes) {
        EXPECT_EQ(outcome.disk_full, fault.error == ENOSPC) << outcome.problem;
      }
      if (changes && fault.call != Call::kUnlink) {
        for (const std::string& name : saved.scratch.names())
          EXPECT_EQ(name.find(".tmp-"), std::string::npos) << name;
      }
    }
    if (outcome.ok) return saved.expect_recovery();
  }
  saved.expect_recovery();
}

// All: every pair of error and once or for good. Else ENOSPC for good and EIO once.
void fail_every_call(int64_t step, bool all, std::span<const Call> calls) {
  const std::vector<int> counts = count_calls(step);
  const int open_before = open_files();
  int failures = 0;
  for (Call call : calls) {
    ASSERT_GE(counts[static_cast<size_t>(call)], 1) << name(call);
    for (int n = 1; n <= counts[static_cast<size_t>(call)]; ++n) {
      for (bool for_good : {false, true}) {
        for (int error : {ENOSPC, EIO}) {
          if (!all && for_good != (error == ENOSPC)) continue;
          check_failure({call, n, Fault::Action::kFail, error, for_good}, step), ++failures;
          ASSERT_FALSE(::testing::Test::HasFailure())
              << std::strerror(error) << (for_good ? " for good" : "") << " at " << name(call) << " " << n;
        }
        if (call != Call::kWrite || (!all && for_good)) continue;
        check_failure({call, n, Fault::Action::kShort, 0, for_good}, step);
        ASSERT_FALSE(::testing::Test::HasFailure()) << "short write " << n;
      }
    }
  }
  EXPECT_EQ(open_files(), open_before);
  std::cout << failures << " failing calls\n";
}

TEST(Torture, FailsAtEveryCallOfASave) { fail_every_call(3, false, kCalls); }
TEST(Torture, FailsAtEveryCallOfAReplacingSave) { fail_every_call(2, false, kCalls); }
TEST(Torture, FailsAtEveryLookOfASave) { fail_every_call(3, false, kLooks); }
TEST(Torture, LongFailsAtEveryCallOfASave) { fail_every_call(3, true, kCalls), fail_every_call(3, true, kLooks); }
TEST(Torture, LongFailsAtEveryCallOfAReplacingSave) {
  fail_every_call(2, true, kCalls), fail_every_call(2, true, kLooks);
}

// A reader that can not read says so: it takes no other checkpoint, and finds no empty folder.
TEST(Torture, FailsAtEveryLookOfAReader) {
  const Saved saved;
  const CheckpointFolder folder(saved.scratch.path());
  int failures = 0;
  for (Call call : kLooks) {
    for (int n = 1;; ++n, ++failures) {
      arm({call, n, Fault::Action::kFail, EIO});
      try {
        ASSERT_TRUE(find_checkpoints(saved.scratch.path()));
        ASSERT_EQ(folder.newest_valid().path, saved.scratch / "step-000002") << name(call) << " " << n;
        disarm();
        break;
      } catch (const IoError& error) {
        disarm();
        ASSERT_EQ(error.code(), ExitCode::kData);
        ASSERT_NE(std::string(error.what()).find(std::strerror(EIO)), std::string::npos) << error.what();
      }
    }
  }
  std::cout << failures << " failing calls\n";
  EXPECT_GT(failures, 20);
}

// Chunks that are written behind the preparation of the next: their errors come out, and nothing waits for ever.
TEST(Torture, FailsAtEveryWriteOfLargeChunks) {
  const std::vector<SavedTensor> large = {{"large", {3, 120'000}, -1}};
  const ScratchFolder scratch;
  ASSERT_TRUE(save(scratch.path(), 1, {}, {}, large).ok);
  const int open_before = open_files();
  int failed = 0;
  for (bool fails = true; fails; failed += fails) {
    arm({Call::kWrite, failed + 1, Fault::Action::kFail, ENOSPC});
    const SaveOutcome outcome = save(scratch.path(), 2, {}, {}, large);
    disarm();
    fails = !outcome.ok;
    if (!fails) break;
    ASSERT_TRUE(outcome.disk_full) << outcome.problem;
    ASSERT_EQ(scratch.names(), (std::vector<std::string>{"latest", "step-000001"})) << failed;
  }
  EXPECT_GE(failed, 9 + 3);  // the chunks of three kinds; metadata, parts, manifest
  EXPECT_EQ(open_files(), open_before);
  Checkpoint checkpoint(CheckpointFolder(scratch.path()).newest_valid().path);
  expect_state_of(checkpoint, 2, large);
}

// What a power failure needs: nothing is committed that is not on disk, nothing old goes before the new is safe.
TEST(Torture, EverythingIsOnDiskBeforeTheRename) {
  const Saved saved;
  arm({});
  ASSERT_TRUE(save_small(saved.scratch.path(), 3).ok);
  const std::vector<Record> records = disarm();
  const fs::path folder = saved.scratch.path();
  std::set<std::string> dirty;
  bool committed = false, names_synced = false, commit_synced = false, manifest_begun = false;
  for (const Record& record : records) {
    const std::string file = fs::path(record.path).filename();
    if (record.call == Call::kWrite) {
      if (file == "manifest.json") manifest_begun = true;
      EXPECT_TRUE(!manifest_begun || file == "manifest.json" || committed) << file << " after the manifest";
      dirty.insert(record.path);
      names_synced = false;
    } else if (record.call == Call::kSync) {
      dirty.erase(record.path);
      names_synced = names_synced || file.starts_with("step-000003.tmp-");
      commit_synced = commit_synced || (committed && record.path == folder);
    } else if (record.call == Call::kRename && file == "step-000003") {
      EXPECT_EQ(dirty, std::set<std::string>{});
      EXPECT_TRUE(names_synced);
      committed = true;
    } else if (record.call == Call::kRename && (file == "latest" || file.find(".del-") != std::string::npos)) {
      EXPECT_TRUE(commit_synced) << file;
    }
  }
  EXPECT_TRUE(committed && commit_synced);
}

void kill_at_random_moments(int times) {
  std::mt19937_64 random(7);
  Saved saved;
  const auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(save_small(saved.scratch.path(), 2).ok);
  std::chrono::duration<double, std::micro> one = std::chrono::steady_clock::now() - start;
  int64_t step = 2;
  for (int i = 0; i < times; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (int64_t next = step + 1;; ++next) save_small(saved.scratch.path(), next);
    }
    ::usleep(static_cast<useconds_t>(one.count() * std::uniform_real_distribution(0.0, 4.0)(random)));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    const int64_t newest = saved.newest();
    ASSERT_GE(newest, step);
    ASSERT_FALSE(::testing::Test::HasFailure());
    one *= newest == step ? 1.25 : 0.9;  // however busy the machine is, about a save at a time
    step = newest;
  }
  EXPECT_GT(step, times / 4);
}

TEST(Torture, KilledAtRandomMoments) { kill_at_random_moments(30); }
TEST(Torture, LongKilledAtRandomMoments) { kill_at_random_moments(500); }

}  // namespace
}  // namespace trine
