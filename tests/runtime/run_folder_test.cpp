#include "runtime/run_folder.h"

#include <gtest/gtest.h>
#include <set>
#include <thread>

#include "tests/data/scratch.h"

namespace trine {
namespace {

using testing::expect_error;
using testing::ScratchFolder;

TEST(RunFolder, AnExistingOneGetsANumber) {
  const ScratchFolder scratch;
  EXPECT_EQ(RunFolder::create(scratch / "runs" / "tiny").path(), scratch / "runs" / "tiny");
  EXPECT_EQ(RunFolder::create(scratch / "runs" / "tiny").path(), scratch / "runs" / "tiny-2");
  EXPECT_EQ(RunFolder::create(scratch / "runs" / "tiny" / "").path(), scratch / "runs" / "tiny-3");
  testing::write_file(scratch / "file", "");
  EXPECT_EQ(RunFolder::create(scratch / "file").path(), scratch / "file-2");
  EXPECT_EQ(testing::read_file(scratch / "file"), "");
}

TEST(RunFolder, RunsThatStartTogetherGetTheirOwn) {
  const ScratchFolder scratch;
  std::vector<std::filesystem::path> made(16);
  {
    std::vector<std::jthread> threads;
    for (auto& path : made) threads.emplace_back([&] { path = RunFolder::create(scratch / "a" / "b").path(); });
  }
  EXPECT_EQ(std::set(made.begin(), made.end()).size(), made.size());
  for (const auto& path : made) EXPECT_TRUE(std::filesystem::is_directory(path)) << path;
}

TEST(RunFolder, KnowsItsFiles) {
  const ScratchFolder scratch;
  const RunFolder folder = RunFolder::create(scratch / "run");
  EXPECT_EQ(folder.trace(12), scratch / "run" / "trace" / "rank-0012.json");
  EXPECT_EQ(folder.trace(3, 1001), scratch / "run" / "trace" / "from-step-001001" / "rank-0003.json");
  EXPECT_EQ(folder.metrics(), scratch / "run" / "metrics.jsonl");
  EXPECT_EQ(folder.log(), scratch / "run" / "log.txt");
  EXPECT_EQ(folder.stop_file(), scratch / "run" / "stop");
  folder.write_config("{\"steps\": 5}\n");
  EXPECT_EQ(testing::read_file(scratch / "run" / "config.json"), "{\"steps\": 5}\n");
}

TEST(RunFolder, SaysWhyItCannotBeMade) {
  const ScratchFolder scratch;
  testing::write_file(scratch / "file", "");
  expect_error(ExitCode::kData, {"[run folder]", "file/run", "Not a directory", "--out"},
               [&] { RunFolder::create(scratch / "file" / "run"); });
  expect_error(ExitCode::kData, {"[run folder]", "/proc/run"}, [&] { RunFolder::create("/proc/run"); });
  expect_error(ExitCode::kConfig, {"[run folder]", "--out"}, [&] { RunFolder::create(""); });
}

}  // namespace
}  // namespace trine
