#include <filesystem>
#include <gtest/gtest.h>
#include <malloc.h>
#include <thread>

#include "base/json.h"
#include "tests/checkpoint/fault_injection.h"
#include "tests/checkpoint/saved_model.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

namespace fs = std::filesystem;
using namespace testing;

void scribble(OwnedSlices& state) {
  for (auto& memory : state.memory) std::fill(memory.begin(), memory.end(), std::byte{0x5a});
}

TEST(AsyncSaver, SavesTheStateOfTheMomentItWasCalled) {
  for (int64_t limit : {INT64_MAX, int64_t{10}}) {
    const ScratchFolder scratch;
    AsyncSaver saver(limit);
    EXPECT_FALSE(saver.finish());
    for (int64_t step : {1, 2}) {
      OwnedSlices state = owned({}, 0, step);
      saver.start(job_at(scratch.path(), step), state.slices);
      scribble(state);
      EXPECT_TRUE(saver.busy());
      const auto outcome = saver.finish();
      ASSERT_TRUE(outcome && outcome->ok);
      EXPECT_FALSE(saver.finish());
      Checkpoint checkpoint(outcome->path);
      expect_state_of(checkpoint, step);
    }
  }
}

TEST(AsyncSaver, RanksMeetInTheFolder) {
  const ScratchFolder scratch;
  const TestLayout layout = {2, 2, 2, true};
  const auto save_all = [&](int64_t step) {
    std::vector<std::unique_ptr<AsyncSaver>> savers;
    const std::string token = new_token();
    for (int rank = 0; rank < layout.num_ranks(); ++rank) {
      savers.push_back(std::make_unique<AsyncSaver>());
      OwnedSlices state = owned(layout, rank, step);
      SaveJob job = job_at(scratch.path(), step, rank, layout.num_ranks(), token);
      job.timeout = std::chrono::seconds(60);
      savers.back()->start(std::move(job), state.slices);
    }
    for (int rank = layout.num_ranks() - 1; rank > 0; --rank) savers[static_cast<size_t>(rank)]->finish();
    return *savers[0]->finish();
  };
  for (int64_t step : {1, 2, 3}) {
    const SaveOutcome outcome = save_all(step);
    ASSERT_TRUE(outcome.ok) << outcome.problem;
    Checkpoint checkpoint(outcome.path);
    expect_state_of(checkpoint, step);
  }
  arm({Call::kSync, 3, Fault::Action::kFail, ENOSPC});
  const SaveOutcome outcome = save_all(4);
  disarm();
  EXPECT_FALSE(outcome.ok);
  EXPECT_TRUE(outcome.disk_full);
  EXPECT_NE(outcome.problem.find("No space left"), std::string::npos) << outcome.problem;
  EXPECT_NE(outcome.problem.find("rank "), std::string::npos) << outcome.problem;
  EXPECT_EQ(CheckpointFolder(scratch.path()).newest_valid().path.filename(), "step-000003");
}

TEST(AsyncSaver, ARankThatNeverComesIsNamed) {
  const ScratchFolder scratch;
  SaveJob job = job_at(scratch.path(), 1, 0, 2);
  job.timeout = std::chrono::milliseconds(50);
  const OwnedSlices state = owned({2, 1, 1, true}, 0, 1);
  const SaveOutcome outcome = save_checkpoint(job, state.slices);
  EXPECT_FALSE(outcome.ok);
  EXPECT_NE(outcome.problem.find("rank 1: "), std::string::npos) << outcome.problem;
  EXPECT_TRUE(scratch.names().empty());
}

TEST(AsyncSaver, FreeSpaceIsAskedBefore) {
  const ScratchFolder scratch;
  EXPECT_EQ(free_space_problem(scratch.path(), 1000), std::nullopt);
  const auto problem = free_space_problem(scratch.path(), int64_t{1} << 60);
  ASSERT_TRUE(problem);
  EXPECT_NE(problem->find("free, but the checkpoint needs "), std::string::npos) << *problem;
  // What a save that was cut off left may be what is missing.
  fs::create_directory(scratch / "step-000005.tmp-t5");
  EXPECT_EQ(free_space_problem(scratch.path(), 1000), std::nullopt);
  EXPECT_TRUE(scratch.names().empty());
}

struct Held {
  int64_t memory = 0, files = 0, threads = 0;
  static int64_t entries(const char* folder) { return std::distance(fs::directory_iterator(folder), {}); }
  static Held now() {
    const auto info = ::mallinfo2();
    return {static_cast<int64_t>(info.uordblks + info.hblkhd), entries("/proc/self/fd"),
            entries("/proc/self/task")};
  }
};

// Small tensors, and one whose chunks are written by a thread of their own; each checkpoint is read, too.
void save_many(int times) {
  const ScratchFolder scratch;
  OwnedSlices state = owned({}, 0, 1);
  const std::vector<float> large(2 * 80'000, 1.5f);
  const Shape shape = {2, 80'000};
  state.slices.push_back({"large", TensorKind::kWeight, DType::kF32, shape, {Box::whole(shape)}, large.data()});
  AsyncSaver saver;
  Held half;
  for (int i = 1; i <= times; ++i) {
    SaveJob job = job_at(scratch.path(), i);
    job.keep = 2;
    saver.start(std::move(job), state.slices);
    const auto outcome = saver.finish();
    ASSERT_TRUE(outcome && outcome->ok);
    ASSERT_TRUE(Checkpoint(outcome->path).verify().empty());
    if (i == times / 2) half = Held::now();
  }
  const Held end = Held::now();
  EXPECT_EQ(end.files, half.files);
  EXPECT_EQ(end.threads, half.threads);
  EXPECT_LT(end.memory, half.memory + (8 << 10));
}

TEST(AsyncSaver, ManySavesLeakNothing) { save_many(60); }
TEST(AsyncSaver, LongManySavesLeakNothing) { save_many(500); }

}  // namespace
}  // namespace trine
