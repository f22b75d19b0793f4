#include "runtime/failure/rank_status.h"

#include <atomic>
#include <gtest/gtest.h>
#include <set>
#include <signal.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "comm/local/local_ranks.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

using namespace std::chrono_literals;
using testing::ScratchFolder;

// A child process with the status of a rank that waits for its neighbour; killed at the end.
class RankProcess {
 public:
  RankProcess(const std::filesystem::path& folder, int rank, int num_ranks) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      StatusWriter status(folder, rank, num_ranks);
      status.set_step(17);
      status.set_action("1B3");
      status.set_node(41, "linear_grad_weight");
      status.waits(Group::kTp).wait_begins("all_gather", 12, (rank + 1) % num_ranks);
      status.waits(Group::kDp).wait_begins("all_reduce", 3, 0);
      status.waits(Group::kDp).wait_ends();
      EXPECT_EQ(::write(ready[1], "x", 1), 1);
      while (true) ::pause();
    }
    char byte;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    ::close(ready[1]);
  }
  ~RankProcess() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }

  // Sends a signal that changes the process' state, and returns when it has: killed, the child stays a zombie.
  void signal(int signal, int awaited_change) const {
    ::kill(pid_, signal);
    siginfo_t info;
    ::waitid(P_PID, static_cast<id_t>(pid_), &info, awaited_change | WNOWAIT);
  }

 private:
  pid_t pid_;
};

void expect_progress(const RankStatus& status, int rank, int num_ranks) {
  EXPECT_EQ(status.rank, rank);
  EXPECT_EQ(status.step, 17);
  EXPECT_EQ(status.action, "1B3");
  EXPECT_EQ(status.node, 41);
  EXPECT_EQ(status.op, "linear_grad_weight");
  ASSERT_EQ(status.waits.size(), 1u);
  EXPECT_EQ(status.waits[0].group, Group::kTp);
  EXPECT_EQ(status.waits[0].op, "all_gather");
  EXPECT_EQ(status.waits[0].sequence, 12);
  EXPECT_EQ(status.waits[0].peer, (rank + 1) % num_ranks);
  EXPECT_GT(status.waits[0].since_ns, 0);
}

TEST(RankStatus, IsReadByAnotherProcessWhileItsRankRunsIsStoppedAndAfterItsDeath) {
  const ScratchFolder folder;
  const RankProcess zero(folder.path(), 0, 3), two(folder.path(), 2, 3);
  std::vector<RankStatus> ranks = read_all_status(folder.path(), 3);
  ASSERT_EQ(ranks.size(), 2u);  // rank 1 has not begun
  expect_progress(ranks[0], 0, 3);
  expect_progress(ranks[1], 2, 3);
  EXPECT_EQ(ranks[1].process.pid, two.pid());
  EXPECT_EQ(ranks[1].state, ProcessState::kRunning);

  two.signal(SIGSTOP, WSTOPPED);
  EXPECT_EQ(read_status(folder.path(), 2)->state, ProcessState::kStopped);
  two.signal(SIGCONT, WCONTINUED);
  EXPECT_EQ(read_status(folder.path(), 2)->state, ProcessState::kRunning);

  two.signal(SIGKILL, WEXITED);
  EXPECT_EQ(read_status(folder.path(), 2)->state, ProcessState::kDead) << "a zombie";
  ::waitpid(two.pid(), nullptr, 0);
  ranks = read_all_status(folder.path(), 3);
  ASSERT_EQ(ranks.size(), 2u);
  expect_progress(ranks[1], 2, 3);
  EXPECT_EQ(ranks[1].state, ProcessState::kDead);
  EXPECT_TRUE(ranks[1].lost());
  EXPECT_EQ(ranks[0].state, ProcessState::kRunning);
}

TEST(RankStatus, AReusedProcessIdIsNotTheRank) {
  ProcessIdentity own = ProcessIdentity::own();
  EXPECT_EQ(process_state(own), ProcessState::kRunning);
  ++own.start_time;
  EXPECT_EQ(process_state(own), ProcessState::kDead);
  own.space += "x";
  EXPECT_EQ(process_state(own), ProcessState::kElsewhere);
}

TEST(RankStatus, AGoodEndLeavesNothing) {
  const ScratchFolder folder;
  {
    const StatusWriter zero(folder.path(), 0, 2), one(folder.path(), 1, 2);
    EXPECT_EQ(read_all_status(folder.path(), 2).size(), 2u);
  }
  EXPECT_TRUE(folder.names().empty());
}

TEST(RankStatus, AnErrorLeavesTheFileMarked) {
  const ScratchFolder folder;
  try {
    StatusWriter status(folder.path(), 0, 1);
    status.set_step(4);
    throw std::runtime_error("of its own");
  } catch (const std::runtime_error&) {
  }
  const auto status = read_status(folder.path(), 0);
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(status->end, RankEnd::kFailed);
  EXPECT_EQ(status->step, 4);
  EXPECT_FALSE(status->lost());
}

// Of a run of four ranks that was killed; what is not surely Trine's stays.
TEST(RankStatus, WhatAnEarlierRunLeftIsGoneAndNothingElse) {
  const ScratchFolder folder;
  const auto status = status_folder(folder.path());
  for (int rank = 0; rank < 4; ++rank) const RankProcess killed(folder.path(), rank, 4);
  testing::write_file(status / "rank-0004", "");  // killed before it had contents
  testing::write_file(status / "rank-0005", std::string(testing::read_file(status / "rank-0003").size(), '\0'));
  const std::vector<std::string> mine = {"notes.txt", "rank-0007", "rank-0008.txt", "rank-notes", "rank-1"};
  for (const std::string& name : mine) testing::write_file(status / name, "precious");
  std::filesystem::create_symlink(status / "notes.txt", status / "rank-0009");
  const StatusWriter one(folder.path(), 1, 2, 77), zero(folder.path(), 0, 2, 77);
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(status)) names.insert(entry.path().filename());
  std::set<std::string> expected(mine.begin(), mine.end());
  expected.insert({"rank-0000", "rank-0001", "rank-0009"});
  EXPECT_EQ(names, expected);
  for (const std::string& name : mine) EXPECT_EQ(testing::read_file(status / name), "precious");
}

TEST(RankStatus, WhatIsNotOursStandsInTheWay) {
  const ScratchFolder folder;
  const auto status = status_folder(folder.path()), elsewhere = folder / "elsewhere";
  std::filesystem::create_directories(elsewhere);
  for (const char* name : {"rank-0000", "rank-0003", "rank-0000.new"})
    testing::write_file(elsewhere / name, "precious");
  const auto refuse = [&] {
    testing::expect_error(ExitCode::kData, {"[status]", "cannot be made", "--out"},
                          [&] { const StatusWriter zero(folder.path(), 0, 1); });
    for (const char* name : {"rank-0000", "rank-0003", "rank-0000.new"})
      EXPECT_EQ(testing::read_file(elsewhere / name), "precious");
  };
  std::filesystem::create_directory_symlink("elsewhere", status);
  refuse();
  std::filesystem::remove(status);
  std::filesystem::create_directories(status);
  std::filesystem::create_symlink(elsewhere / "rank-0000", status / "rank-0000");
  refuse();
  std::filesystem::remove(status / "rank-0000");
  testing::write_file(status / "rank-0000", "precious");
  refuse();
  std::filesystem::remove(status / "rank-0000");
  // A temporary name of old: no part of it any more.
  std::filesystem::create_symlink(elsewhere / "rank-0000.new", status / "rank-0000.new");
  { const StatusWriter zero(folder.path(), 0, 1); }
  EXPECT_EQ(testing::read_file(elsewhere / "rank-0000.new"), "precious");
}

TEST(RankStatus, OneOfAnotherStartSpeaksOfNobody) {
  const ScratchFolder folder;
  const StatusWriter zero(folder.path(), 0, 2, 7), one(folder.path(), 1, 2, 8);
  EXPECT_TRUE(read_status(folder.path(), 1, 8).has_value());
  EXPECT_FALSE(read_status(folder.path(), 1, 7).has_value());
  ASSERT_EQ(read_all_status(folder.path(), 2, 7).size(), 1u);
  EXPECT_EQ(read_all_status(folder.path(), 2, 7)[0].rank, 0);
  EXPECT_EQ(read_all_status(folder.path(), 2).size(), 2u);
}

// The last words of a dying run do not take the next one's away.
TEST(RankStatus, AnEndRemovesOnlyItsOwn) {
  const ScratchFolder folder;
  auto old = std::make_unique<StatusWriter>(folder.path(), 0, 1, 1);
  const StatusWriter next(folder.path(), 0, 1, 2);
  old.reset();
  EXPECT_TRUE(read_status(folder.path(), 0, 2).has_value());
}

TEST(RankStatus, BrokenFilesAreLeftOut) {
  const ScratchFolder folder;
  const StatusWriter status(folder.path(), 1, 4);
  const auto file = [&](int rank) { return status_folder(folder.path()) / fmt::format("rank-{:04}", rank); };
  const std::string good = testing::read_file(file(1));
  testing::write_file(file(0), good.substr(0, good.size() / 2));
  testing::write_file(file(2), std::string(good.size(), 'x'));
  testing::write_file(file(3), "");
  const auto ranks = read_all_status(folder.path(), 4);
  ASSERT_EQ(ranks.size(), 1u);
  EXPECT_EQ(ranks[0].rank, 1);
}

TEST(RankStatus, LongTextsAreCut) {
  const ScratchFolder folder;
  StatusWriter status(folder.path(), 0, 1);
  status.set_action(std::string(100, 'a'));
  status.set_node(1, std::string(100, 'b'));
  EXPECT_EQ(read_status(folder.path(), 0)->action, std::string(15, 'a'));
  EXPECT_EQ(read_status(folder.path(), 0)->op, std::string(23, 'b'));
}

// The reader sees one wait or the other, never a mixture.
TEST(RankStatus, AWaitIsReadWhole) {
  const ScratchFolder folder;
  StatusWriter status(folder.path(), 0, 1);
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int64_t i = 0; !stop; i = (i + 1) % 26) {
      const std::string op(23, static_cast<char>('a' + i));
      status.waits(Group::kTp).wait_begins(op, i, static_cast<int>(i));
      std::this_thread::yield();
    }
  });
  int64_t num_read = 0, num_different = 0, last = -1;
  while (num_read < 3000 || num_different < 10) {  // on one core the writer may run seldom
    const auto read = read_status(folder.path(), 0);
    if (read->waits.empty()) continue;  // the writer has not begun
    const WaitStatus& wait = read->waits[0];
    EXPECT_EQ(wait.op, std::string(23, static_cast<char>('a' + wait.sequence)));
    EXPECT_EQ(wait.peer, wait.sequence);
    num_different += wait.sequence != last;
    last = wait.sequence;
    ++num_read;
  }
  stop = true;
  writer.join();
}

TEST(RankStatus, ACommunicatorsWaitsAreSeen) {
  const ScratchFolder folder;
  EXPECT_THROW(run_local_ranks(2,
                               [&](Fabric& fabric) {
                                 CommWorld world(fabric, {.dp = 2}, 100ms);
                                 StatusWriter status(folder.path(), fabric.rank(), 2);
                                 status.observe(world);
                                 int64_t sum = 1;
                                 world[Group::kDp].all_reduce(&sum, 1, DType::kI64);
                                 EXPECT_TRUE(read_status(folder.path(), fabric.rank())->waits.empty());
                                 if (fabric.rank() == 1) std::this_thread::sleep_for(300ms);
                                 if (fabric.rank() == 0) world[Group::kDp].all_reduce(&sum, 1, DType::kI64);
                               }),
               HangError);
  const auto status = read_status(folder.path(), 0);
  ASSERT_TRUE(status.has_value());
  ASSERT_EQ(status->waits.size(), 1u);
  EXPECT_EQ(status->waits[0].op, "all_reduce");
  EXPECT_EQ(status->waits[0].sequence, 2);
  EXPECT_EQ(status->waits[0].peer, 1);
  EXPECT_EQ(status->waits[0].group, Group::kDp);
}

}  // namespace
}  // namespace trine
