// Ranks are forked processes without a launcher here; under mpirun: tests/programs/failure_test.cpp.
#include "runtime/failure/failure_watch.h"

#include <chrono>
#include <gtest/gtest.h>
#include <optional>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/data/scratch.h"

namespace trine {
namespace {

using namespace std::chrono_literals;
using testing::ScratchFolder;

size_t count(const std::string& text, const std::string& word) {
  size_t n = 0;
  for (size_t at = text.find(word); at != text.npos; at = text.find(word, at + 1)) ++n;
  return n;
}

class Watched : public ::testing::Test {
 protected:
  static constexpr int kRanks = 3;

  // Starts the ranks; each calls act(rank) once all watch, and then ends as a program does.
  template <typename F>
  void start(F act) {
    for (int rank = 0; rank < kRanks; ++rank) {
      pids_.push_back(::fork());
      if (pids_.back() != 0) continue;
      std::freopen((folder_ / "stderr").c_str(), "a", stderr);
      try {
        StatusWriter status(folder_.path(), rank, kRanks);
        wait_for("begin");
        const FailureWatch watch(status);
        testing::write_file(folder_ / fmt::format("watching-{}", rank), "");
        wait_for("go");
        status.set_step(6);
        act(rank);
      } catch (const DataError&) {
        ::_exit(3);
      }
      ::_exit(0);
    }
    while (read_all_status(folder_.path(), kRanks).size() < kRanks) std::this_thread::sleep_for(1ms);
    testing::write_file(folder_ / "begin", "");
    for (int rank = 0; rank < kRanks; ++rank) wait_for(fmt::format("watching-{}", rank));
    testing::write_file(folder_ / "go", "");
    std::this_thread::sleep_for(50ms);
  }
  ~Watched() override {
    for (const pid_t pid : pids_) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }

  void wait_for(const std::string& file) const {
    while (!std::filesystem::exists(folder_ / file)) std::this_thread::sleep_for(1ms);
  }

  // The wait status of a rank that ends within `limit`.
  std::optional<int> status_within(std::chrono::milliseconds limit, int rank) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    int status = 0;
    while (::waitpid(pids_[rank], &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > deadline) return std::nullopt;
      std::this_thread::sleep_for(1ms);
    }
    pids_[rank] = ::fork();  // something of ours to kill at the end
    if (pids_[rank] == 0) ::_exit(0);
    return status;
  }
  void expect_exit(int rank, int code) {
    const auto status = status_within(5s, rank);
    ASSERT_TRUE(status.has_value()) << "rank " << rank << " still runs";
    EXPECT_TRUE(WIFEXITED(*status) && WEXITSTATUS(*status) == code) << "rank " << rank << ": " << *status;
  }
  void expect_signal(int rank, int signal) {
    const auto status = status_within(5s, rank);
    ASSERT_TRUE(status.has_value()) << "rank " << rank << " still runs";
    EXPECT_TRUE(WIFSIGNALED(*status) && WTERMSIG(*status) == signal) << "rank " << rank << ": " << *status;
  }
  std::string printed() const { return testing::read_file(folder_ / "stderr"); }

  const ScratchFolder folder_;
  std::vector<pid_t> pids_;
};

void sleep_on(int) { std::this_thread::sleep_for(1h); }

TEST_F(Watched, AKilledRankEndsTheOthersWithOneMessage) {
  start(sleep_on);
  const auto begin = std::chrono::steady_clock::now();
  ::kill(pids_[1], SIGKILL);
  expect_exit(0, 6);
  expect_exit(2, 6);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  EXPECT_EQ(count(printed(), "[peer lost] rank 1 (process"), 1u) << printed();
  EXPECT_EQ(count(printed(), "[peer lost]"), 1u);
  EXPECT_EQ(count(printed(), "has died in step 6"), 1u);
  EXPECT_EQ(count(testing::read_file(folder_ / "log.txt"), "[rank 0] [peer lost]"), 1u) << "rank 0 is the lowest";
}

TEST_F(Watched, ALaunchersSigtermAfterADeathIsNoWishToStop) {
  start(sleep_on);
  ::kill(pids_[0], SIGKILL);
  ::kill(pids_[1], SIGTERM);
  ::kill(pids_[2], SIGTERM);
  expect_exit(1, 6);
  expect_exit(2, 6);
  EXPECT_EQ(count(printed(), "[peer lost] rank 0"), 1u) << printed();
}

TEST_F(Watched, SigtermToAllIsAPersonsWish) {
  start(sleep_on);
  for (const pid_t pid : pids_) {
    ::kill(pid, SIGTERM);
    std::this_thread::sleep_for(100ms);  // the next ones see the first one end
  }
  for (int rank = 0; rank < kRanks; ++rank) expect_signal(rank, SIGTERM);
  EXPECT_EQ(printed(), "");
}

// Under srun the signal is a wish to stop, which StopSignal has taken.
TEST(FailureWatch, LeavesSignalsToWhoHasThem) {
  const ScratchFolder folder;
  StatusWriter status(folder.path(), 0, 1);
  struct sigaction before {
  }, during{};
  ::sigaction(SIGTERM, nullptr, &before);
  const FailureWatch watch(status, /*takes_signals=*/false);
  ::sigaction(SIGTERM, nullptr, &during);
  EXPECT_EQ(during.sa_handler, before.sa_handler);
}

TEST_F(Watched, SigtermToOneRankIsALoss) {
  start(sleep_on);
  ::kill(pids_[2], SIGTERM);
  expect_signal(2, SIGTERM);
  expect_exit(0, 6);
  expect_exit(1, 6);
  EXPECT_EQ(count(printed(), "[peer lost] rank 2"), 1u) << printed();
}

TEST_F(Watched, ARankThatFailedHasSaidSo) {
  start([](int rank) {
    if (rank == 2) throw DataError("printed by main");
    sleep_on(rank);
  });
  expect_exit(2, 3);
  expect_exit(0, 6);
  expect_exit(1, 6);
  EXPECT_EQ(printed(), "");
}

TEST_F(Watched, ARankThatEndedWellIsNotMissed) {
  start([](int rank) {
    if (rank != 2) sleep_on(rank);
  });
  expect_exit(2, 0);
  EXPECT_FALSE(status_within(300ms, 0).has_value());
  EXPECT_FALSE(status_within(300ms, 1).has_value());
  EXPECT_EQ(printed(), "");
}

}  // namespace
}  // namespace trine
