#include "runtime/job/run_folder.h"

#include <gtest/gtest.h>
#include <set>
#include <thread>

#include "tests/data/scratch.h"

namespace trine {
namespace {

using testing::expect_error;
using testing::ScratchFolder;

constexpr const char* kRunConfig = R"({"global-batch": 8, "micro-batch": 2})";

std::filesystem::path make(const std::filesystem::path& wanted) {
  const LockedFolder folder = LockedFolder::create(wanted);
  RunFolder(folder.path()).write_config(kRunConfig);
  return folder.path();
}

TEST(RunFolder, OneThatHoldsARunGetsANumber) {
  const ScratchFolder scratch;
  EXPECT_EQ(make(scratch / "runs" / "tiny"), scratch / "runs" / "tiny");
  EXPECT_EQ(make(scratch / "runs" / "tiny"), scratch / "runs" / "tiny-2");
  EXPECT_EQ(make(scratch / "runs" / "tiny" / ""), scratch / "runs" / "tiny-3");
  // Without config.json too.
  for (const char* file : {"checkpoints/step-000004/manifest.json", "metrics.jsonl", "lock"}) {
    const std::filesystem::path run = scratch / "of" / std::string(1, file[0]);
    std::filesystem::create_directories((run / file).parent_path());
    testing::write_file(run / file, file[0] == 'm' ? "{\"version\":\"0.1.0\"}\n"
                                                   : R"({"pid": 1, "start_time": 1, "host": "a", "space": "b",
                                                        "started": "c", "number": "0123456789abcdef"})");
    EXPECT_EQ(folder_kind(run), FolderKind::kRun) << file;
  }
  // What was not asked for by name is passed over.
  testing::write_file(scratch / "runs" / "tiny-4", "a file");
  EXPECT_EQ(make(scratch / "runs" / "tiny"), scratch / "runs" / "tiny-5");
}

TEST(RunFolder, AnEmptyOneIsUsed) {
  const ScratchFolder scratch;
  std::filesystem::create_directories(scratch / "out");
  std::filesystem::create_directory_symlink("out", scratch / "link");
  EXPECT_EQ(make(scratch / "link"), scratch / "link");
  EXPECT_EQ(testing::read_file(scratch / "out" / "config.json"), kRunConfig);
  EXPECT_EQ(make(scratch / "out"), scratch / "out-2");
  // Of a job that was killed at that very moment.
  std::filesystem::create_directories(scratch / "killed");
  testing::write_file(scratch / "killed" / "lock", "");
  EXPECT_EQ(make(scratch / "killed"), scratch / "killed");
}

TEST(RunFolder, AnythingElseIsRefusedAndStaysAsItIs) {
  const ScratchFolder scratch;
  const std::string model = R"({"model_type": "llama", "hidden_size": 32})";
  std::filesystem::create_directories(scratch / "model");
  testing::write_file(scratch / "model" / "config.json", model);
  testing::write_file(scratch / "model" / "lock", "");  // which a killed job may have left
  std::filesystem::create_directories(scratch / "notes" / "status");
  testing::write_file(scratch / "file", "mine");
  std::filesystem::create_symlink("nowhere", scratch / "dangling");
  for (const char* name : {"model", "notes", "file", "dangling"}) {
    const auto path = scratch / name;
    expect_error(ExitCode::kConfig, {"[run folder]", name, "holds no run", "--out"},
                 [&] { require_for_run(path); });
    expect_error(ExitCode::kConfig, {"[run folder]", name}, [&] { LockedFolder::create(path); });
    expect_error(ExitCode::kConfig, {"[run folder]", name}, [&] { LockedFolder::open(path); });
  }
  // By whatever way one comes there.
  expect_error(ExitCode::kConfig, {"config.json", "not a run's"},
               [&] { RunFolder(scratch / "model").write_config(kRunConfig); });
  EXPECT_EQ(testing::read_file(scratch / "model" / "config.json"), model);
  EXPECT_EQ(testing::read_file(scratch / "file"), "mine");
  EXPECT_EQ(scratch.names(), (std::vector<std::string>{"dangling", "file", "model", "notes"}));
}

TEST(RunFolder, RunsThatStartTogetherGetTheirOwn) {
  const ScratchFolder scratch;
  std::filesystem::create_directories(scratch / "a" / "b");
  std::vector<std::filesystem::path> made(16);
  {
    std::vector<std::jthread> threads;
    for (auto& path : made) threads.emplace_back([&] { path = make(scratch / "a" / "b"); });
  }
  EXPECT_EQ(std::set(made.begin(), made.end()).size(), made.size());
  for (const auto& path : made) EXPECT_EQ(testing::read_file(path / "config.json"), kRunConfig) << path;
}

TEST(RunFolder, WhatCameToNothingLeavesNothing) {
  const ScratchFolder scratch;
  std::filesystem::create_directories(scratch / "empty");
  { const LockedFolder made = LockedFolder::create(scratch / "new"), used = LockedFolder::open(scratch / "empty"); }
  EXPECT_EQ(scratch.names(), std::vector<std::string>{"empty"}) << "was there before";
  EXPECT_TRUE(std::filesystem::is_empty(scratch / "empty"));
}

// A planted link may not lead the write elsewhere.
TEST(RunFolder, WritesThroughNoLink) {
  const ScratchFolder scratch;
  testing::write_file(scratch / "victim", "precious");
  std::filesystem::create_directories(scratch / "run");
  for (const char* name : {"config.json", "config.json.tmp"})
    std::filesystem::create_symlink(scratch / "victim", scratch / "run" / name);
  RunFolder(scratch / "run").write_config(kRunConfig);
  EXPECT_EQ(testing::read_file(scratch / "victim"), "precious");
  EXPECT_EQ(testing::read_file(scratch / "run" / "config.json"), kRunConfig);
}

TEST(RunFolder, RemovesTracesAndNothingElse) {
  const ScratchFolder scratch;
  const RunFolder folder(scratch / "run");
  const auto traces = folder.traces(5);
  std::filesystem::create_directories(traces / "mine");
  for (const char* name : {"rank-0000.json", "rank-0017.json", "notes.txt", "mine/rank-0000.json"})
    testing::write_file(traces / name, "x");
  folder.remove_traces(5);
  EXPECT_TRUE(std::filesystem::exists(traces / "notes.txt"));
  EXPECT_TRUE(std::filesystem::exists(traces / "mine" / "rank-0000.json"));
  EXPECT_FALSE(std::filesystem::exists(traces / "rank-0000.json"));
  EXPECT_FALSE(std::filesystem::exists(traces / "rank-0017.json"));
  // Not through a link either.
  std::filesystem::create_directory_symlink(traces / "mine", folder.traces(9));
  folder.remove_traces(9);
  EXPECT_TRUE(std::filesystem::exists(traces / "mine" / "rank-0000.json"));
}

TEST(RunFolder, KnowsItsFiles) {
  const ScratchFolder scratch;
  const RunFolder folder(scratch / "run");
  EXPECT_EQ(folder.trace(12, 1, "json"), scratch / "run" / "trace" / "rank-0012.json");
  EXPECT_EQ(folder.trace(3, 1001, "json.gz"), scratch / "run/trace/from-step-001001/rank-0003.json.gz");
  EXPECT_EQ(folder.metrics(), scratch / "run" / "metrics.jsonl");
  EXPECT_EQ(folder.log(), scratch / "run" / "log.txt");
  EXPECT_EQ(folder.stop_file(), scratch / "run" / "stop");
}

// A name that the system does not take is not a name that is free.
TEST(RunFolder, AnErrorOfTheFileSystemIsNotAMissingFolder) {
  const ScratchFolder scratch;
  const std::filesystem::path too_long = scratch / std::string(300, 'x');
  expect_error(ExitCode::kData, {"File name too long"}, [&] { folder_kind(too_long); });
  expect_error(ExitCode::kData, {"File name too long"}, [&] { require_for_run(too_long); });
  // A config.json of brackets alone has a depth that no reader follows: the folder is refused like any other's.
  const std::filesystem::path deep = scratch / "deep";
  std::filesystem::create_directories(deep);
  testing::write_file(deep / "config.json", std::string(1 << 20, '['));
  EXPECT_EQ(folder_kind(deep), FolderKind::kOther);
}

TEST(RunFolder, SaysWhyItCannotBeMade) {
  const ScratchFolder scratch;
  testing::write_file(scratch / "file", "");
  expect_error(ExitCode::kData, {"[run folder]", "file/run", "Not a directory", "--out"},
               [&] { LockedFolder::create(scratch / "file" / "run"); });
  expect_error(ExitCode::kData, {"[run folder]", "/proc/run"}, [&] { LockedFolder::create("/proc/run"); });
  expect_error(ExitCode::kConfig, {"[run folder]", "--out"}, [&] { LockedFolder::create(""); });
}

}  // namespace
}  // namespace trine
