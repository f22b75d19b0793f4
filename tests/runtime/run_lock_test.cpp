#include "runtime/job/run_lock.h"

#include <csignal>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/failure/process_state.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

using namespace std::chrono_literals;
using testing::expect_error;
using testing::ScratchFolder;

// A process that has the lock of a folder, as a job does; killed at the end.
class Holder {
 public:
  explicit Holder(const std::filesystem::path& folder) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      const RunLock lock(folder);
      EXPECT_EQ(::write(ready[1], "x", 1), 1);
      while (true) ::pause();
    }
    char byte;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]), ::close(ready[1]);
  }
  ~Holder() { kill(); }
  void kill() {
    if (pid_ == 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

// The text of a lock that another job left.
std::string lock_of(ProcessIdentity process) {
  return nlohmann::json{{"host", process.host},
                        {"pid", process.pid},
                        {"space", process.space},
                        {"start_time", process.start_time},
                        {"started", "2026-01-01T00:00:00Z"},
                        {"number", "00000000000000ff"}}
      .dump();
}

TEST(RunLock, SaysWhoHasItAndIsGoneAtTheEnd) {
  const ScratchFolder folder;
  uint64_t first = 0;
  {
    const RunLock lock(folder.path());
    first = lock.number();
    const auto json = nlohmann::json::parse(testing::read_file(folder / "lock"));
    const ProcessIdentity own = ProcessIdentity::own();
    EXPECT_EQ(json["host"], own.host);
    EXPECT_EQ(json["pid"], ::getpid());
    EXPECT_EQ(json["start_time"], own.start_time);
    EXPECT_EQ(lock_number(folder.path()), first);
    EXPECT_TRUE(has_lock(folder.path()));
  }
  EXPECT_TRUE(folder.names().empty());
  EXPECT_EQ(lock_number(folder.path()), std::nullopt);
  EXPECT_NE(RunLock(folder.path()).number(), first);
}

TEST(RunLock, ASecondJobIsRefused) {
  const ScratchFolder folder;
  const Holder other(folder.path());
  const std::string before = testing::read_file(folder / "lock");
  const std::string message =
      expect_error(ExitCode::kConfig,
                   {"[run folder]", folder.path(), fmt::format("process {} on ", other.pid()), "--out", "since 2"},
                   [&] { const RunLock lock(folder.path()); });
  EXPECT_EQ(testing::read_file(folder / "lock"), before);
}

TEST(RunLock, OneOfADeadProcessIsTakenOver) {
  const ScratchFolder folder;
  Holder other(folder.path());
  other.kill();
  ASSERT_TRUE(has_lock(folder.path()));
  {
    const RunLock lock(folder.path(), 1h);  // no wait where the process can be seen
    EXPECT_EQ(lock_number(folder.path()), lock.number());
  }
  // The same id, but another process by now.
  ProcessIdentity reused = ProcessIdentity::own();
  ++reused.start_time;
  testing::write_file(folder / "lock", lock_of(reused));
  const RunLock lock(folder.path(), 1h);
}

// Where flock does not reach, as on some network file systems, the process itself tells.
TEST(RunLock, ALivingProcessHasItWithoutFlockToo) {
  const ScratchFolder folder;
  testing::write_file(folder / "lock", lock_of(ProcessIdentity::own()));
  expect_error(ExitCode::kConfig, {"another job"}, [&] { const RunLock lock(folder.path()); });
}

TEST(RunLock, OfAnotherHostItIsWatched) {
  const ScratchFolder folder;
  const std::string text = lock_of({.pid = 1, .start_time = 1, .host = "far", .space = "away"});
  testing::write_file(folder / "lock", text);
  {
    std::atomic<bool> stop = false;
    std::jthread toucher([&] {
      while (!stop) {
        ::utimensat(AT_FDCWD, (folder / "lock").c_str(), nullptr, 0);
        std::this_thread::sleep_for(1ms);
      }
    });
    expect_error(ExitCode::kConfig, {"process 1 on far"}, [&] { const RunLock lock(folder.path(), 1h); });
    stop = true;
  }
  EXPECT_EQ(testing::read_file(folder / "lock"), text);
  { const RunLock lock(folder.path(), 10ms); }  // nobody touches it
  testing::write_file(folder / "lock", text);
  const timespec long_ago[2] = {{1'700'000'000, 0}, {1'700'000'000, 0}};
  ::utimensat(AT_FDCWD, (folder / "lock").c_str(), long_ago, 0);
  const RunLock lock(folder.path(), 1h);
}

TEST(RunLock, AHalfWrittenOneIsTakenOver) {
  const ScratchFolder folder;
  testing::write_file(folder / "lock", "");
  const RunLock lock(folder.path());
  EXPECT_EQ(lock_number(folder.path()), lock.number());
}

TEST(RunLock, WhatIsNoLockStays) {
  const ScratchFolder folder;
  const auto refuse = [&](ExitCode code) {
    expect_error(code, {"[run folder]", "lock"}, [&] { const RunLock lock(folder.path()); });
  };
  testing::write_file(folder / "lock", "my notes");
  refuse(ExitCode::kConfig);
  EXPECT_EQ(testing::read_file(folder / "lock"), "my notes");
  std::filesystem::rename(folder / "lock", folder / "notes");
  std::filesystem::create_symlink("notes", folder / "lock");
  refuse(ExitCode::kData);
  EXPECT_EQ(testing::read_file(folder / "notes"), "my notes");
  std::filesystem::remove(folder / "lock");
  ASSERT_EQ(::mkfifo((folder / "lock").c_str(), 0666), 0);
  refuse(ExitCode::kData);  // and does not wait for a writer
}

// cp -al: the copy is another run.
TEST(RunLock, AHardLinkedCopyKeepsItsOwn) {
  const ScratchFolder folder;
  testing::write_file(folder / "old", lock_of({.pid = 1, .start_time = 1, .host = "a", .space = "b"}));
  std::filesystem::create_hard_link(folder / "old", folder / "lock");
  const std::string before = testing::read_file(folder / "old");
  const RunLock lock(folder.path(), 1ms);
  EXPECT_EQ(testing::read_file(folder / "old"), before);
  EXPECT_NE(testing::read_file(folder / "lock"), before);
}

}  // namespace
}  // namespace trine
