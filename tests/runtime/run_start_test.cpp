#include "runtime/job/run_start.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "comm/local/local_ranks.h"
#include "comm/world.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

using namespace std::chrono_literals;
using testing::expect_error;
using testing::ScratchFolder;

template <typename F>
void on_ranks(int num_ranks, F f) {
  run_local_ranks(num_ranks, [&](Fabric& fabric) {
    CommWorld world(fabric, {.dp = num_ranks}, 60s);
    f(world[Group::kWorld]);
  });
}

Config config_for(const std::filesystem::path& out) {
  Config config;
  config.out = out;
  config.save_interval = 5;
  return config;
}

TEST(RunStart, AllRanksGetOneFolderAndNumber) {
  const ScratchFolder scratch;
  const Config config = config_for(scratch / "out");
  std::vector<uint64_t> numbers(3);
  on_ranks(3, [&](Communicator& world) {
    const RunStart start(config, &world);
    EXPECT_EQ(start.folder().path(), scratch / "out");
    start.write_config();
    numbers[static_cast<size_t>(world.rank())] = start.number();
    world.barrier();
    EXPECT_TRUE(has_lock(scratch / "out"));
    world.barrier();  // the first to end takes the lock with it
  });
  EXPECT_EQ(numbers, std::vector<uint64_t>(3, numbers[0]));
  EXPECT_NE(numbers[0], 0u);
  EXPECT_EQ(nlohmann::json::parse(testing::read_file(scratch / "out" / "config.json"))["out"],
            (scratch / "out").string());
  EXPECT_FALSE(has_lock(scratch / "out"));
}

// Three hosts: the last two see another folder of that name, empty or with the lock of another start.
TEST(RunStart, HostsThatDoNotShareTheFolderAreNamed) {
  const ScratchFolder scratch;
  for (const char* host : {"a", "b", "c"}) std::filesystem::create_directories(scratch / host);
  const RunLock lock(scratch / "a"), other(scratch / "c");
  on_ranks(4, [&](Communicator& world) {
    const std::filesystem::path seen = scratch / (world.rank() < 2 ? "a" : world.rank() == 2 ? "b" : "c");
    const std::string message =
        expect_error(ExitCode::kData, {"[run folder]", "rank 0 (on ", "rank 2 (on ", "rank 3 (on ", "--save"},
                     [&] { require_shared(&world, seen, lock.number(), "--save", 30ms); });
    EXPECT_EQ(message.find("rank 1 (on"), message.npos) << message;
    require_shared(&world, scratch / "a", lock.number(), "--out", 60s);
  });
}

TEST(RunStart, ARunThatGoesOnIsLocked) {
  const ScratchFolder scratch;
  Config config = config_for(scratch / "out");
  RunStart(config, nullptr).write_config();
  config.resume = "latest";
  config.resume_folder = (scratch / "out" / "").string();  // the same folder in other letters
  {
    const RunStart start(config, nullptr);
    EXPECT_TRUE(has_lock(scratch / "out"));
    on_ranks(2, [&](Communicator& world) {
      expect_error(ExitCode::kConfig, {"another job"}, [&] { RunStart second(config, &world); });
    });
  }
  EXPECT_EQ(scratch.names(), std::vector<std::string>{"out"});
}

TEST(RunStart, AFolderOfCheckpointsElsewhereIsLockedToo) {
  const ScratchFolder scratch;
  Config config = config_for(scratch / "out"), second = config_for(scratch / "out-of-another");
  config.save = second.save = scratch / "saves";
  const RunStart start(config, nullptr);
  EXPECT_TRUE(has_lock(scratch / "saves"));
  expect_error(ExitCode::kConfig, {"saves", "another job"}, [&] { RunStart(second, nullptr); });
  EXPECT_FALSE(std::filesystem::exists(scratch / "out-of-another")) << "nothing came of it";
  // The run's own, where a link leads elsewhere.
  std::filesystem::create_directories(scratch / "run");
  std::filesystem::create_directories(scratch / "big-disk" / "step-000004.tmp-ab12");
  std::filesystem::create_directory_symlink(scratch / "big-disk", scratch / "run" / "checkpoints");
  Config linked = config_for(scratch / "run");
  linked.resume = "auto";
  const RunStart third(linked, nullptr);
  EXPECT_TRUE(has_lock(scratch / "big-disk"));
}

TEST(RunStart, FilesThatAreLinksAreSaidBeforeTheRun) {
  const ScratchFolder scratch;
  const Config config = config_for(scratch / "out");
  RunStart(config, nullptr).write_config();
  Config resumed = config;
  resumed.resume = "latest";
  resumed.resume_folder = config.out;
  for (const char* name : {"metrics.jsonl", "log.txt"}) {
    std::filesystem::create_symlink("nowhere", scratch / "out" / name);
    expect_error(ExitCode::kConfig, {"[run folder]", name, "is a link"}, [&] { RunStart(resumed, nullptr); });
    std::filesystem::remove(scratch / "out" / name);
  }
}

// --resume auto found nothing; while this job read its data, another one trained there from begin to end.
TEST(RunStart, WhatBeginsDoesNotBeginOverWhatAnotherJobDid) {
  const ScratchFolder scratch;
  Config config = config_for(scratch / "out");
  config.resume = "auto";
  RunStart(config, nullptr).write_config();
  std::filesystem::create_directories(scratch / "out" / "checkpoints" / "step-000004");
  const std::string before = testing::read_file(scratch / "out" / "config.json");
  config.steps = 17;
  const RunStart start(config, nullptr);
  expect_error(ExitCode::kConfig, {"holds checkpoints already"}, [&] { start.write_config(); });
  EXPECT_EQ(testing::read_file(scratch / "out" / "config.json"), before);
}

}  // namespace
}  // namespace trine
