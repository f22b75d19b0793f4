#include "runtime/failure/failure_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/scratch.h"

namespace trine {
namespace {

using ::testing::HasSubstr;
using testing::ScratchFolder;
using ::testing::StartsWith;

constexpr int64_t kNow_ns = 100'000'000'000;

// A rank in step 9, waiting for those ranks since 60, 61 ... seconds.
RankStatus rank_waiting_for(int rank, std::vector<int> peers, ProcessState state = ProcessState::kRunning) {
  RankStatus status{.rank = rank, .state = state, .step = 9, .action = "0F1", .node = 5, .op = "linear"};
  status.process = {.pid = 4000 + rank, .host = "node7"};
  int64_t since_ns = kNow_ns - 60'000'000'000;
  for (const int peer : peers) {
    status.waits.push_back({Group::kTp, "all_gather", 40 + rank, peer, since_ns});
    since_ns -= 1'000'000'000;
  }
  return status;
}

TEST(Diagnose, TheDeadRankComesFirst) {
  const Failure failure = diagnose({rank_waiting_for(0, {2}), rank_waiting_for(1, {}, ProcessState::kStopped),
                                    rank_waiting_for(2, {0}, ProcessState::kDead)},
                                   0, nullptr, kNow_ns);
  EXPECT_EQ(failure.code, ExitCode::kPeerLost);
  EXPECT_EQ(failure.culprit, 2);
  EXPECT_THAT(failure.message, StartsWith("[peer lost] rank 2 (process 4002 on node7) has died in step 9, action "
                                          "0F1, op linear (node 5)."));
  EXPECT_THAT(failure.message, HasSubstr("\n  rank 0 in step 9, action 0F1, op linear (node 5): waits 60.0 s for "
                                         "rank 2 in all_gather 40 of group tp\n"));
}

TEST(Diagnose, AStoppedRankIsToBlame) {
  const Failure failure = diagnose(
      {rank_waiting_for(0, {1}), rank_waiting_for(1, {2}), rank_waiting_for(2, {}, ProcessState::kStopped)}, 0,
      nullptr, kNow_ns);
  EXPECT_EQ(failure.code, ExitCode::kHang);
  EXPECT_EQ(failure.culprit, 2);
  EXPECT_THAT(failure.message, StartsWith("[hang] rank 2 (process 4002 on node7) is stopped in step 9"));
}

TEST(Diagnose, TheChainOfWaitsEndsAtTheCulprit) {
  // Rank 0 waits for 1 and, longer, for 3; 3 for 2, which waits for nobody. Rank 1 does not wait either.
  const Failure failure = diagnose(
      {rank_waiting_for(0, {1, 3}), rank_waiting_for(1, {}), rank_waiting_for(2, {}), rank_waiting_for(3, {2})}, 0,
      nullptr, kNow_ns);
  EXPECT_EQ(failure.code, ExitCode::kHang);
  EXPECT_EQ(failure.culprit, 2);
  EXPECT_THAT(failure.message, StartsWith("[hang] rank 2 (process 4002 on node7) does not answer"));
}

TEST(Diagnose, ARankThatRanOutOfPatienceToo) {
  RankStatus middle = rank_waiting_for(1, {2}, ProcessState::kDead);
  middle.end = RankEnd::kFailed;
  const HangError hang("rank 0 ...");
  const Failure failure = diagnose({rank_waiting_for(0, {1}), middle, rank_waiting_for(2, {})}, 0, &hang, kNow_ns);
  EXPECT_EQ(failure.code, ExitCode::kHang);
  EXPECT_EQ(failure.culprit, 2);
}

TEST(Diagnose, RanksThatWaitForEachOther) {
  const Failure failure =
      diagnose({rank_waiting_for(0, {1}), rank_waiting_for(1, {2}), rank_waiting_for(2, {1})}, 0, nullptr, kNow_ns);
  EXPECT_EQ(failure.code, ExitCode::kHang);
  EXPECT_EQ(failure.culprit, -1);
  EXPECT_THAT(failure.message, StartsWith("[hang] ranks wait for each other: 1 -> 2 -> 1."));
}

TEST(Diagnose, ARankThatIsThereNoMore) {
  const Failure failure = diagnose({rank_waiting_for(0, {3})}, 0, nullptr, kNow_ns);
  EXPECT_EQ(failure.code, ExitCode::kPeerLost);
  EXPECT_EQ(failure.culprit, 3);
}

// Its status was taken away, or stands where this host cannot see it: a timeout stays one.
TEST(Diagnose, ATimeoutOfARankWithoutStatusIsNoLoss) {
  const HangError hang("[comm] rank 0 in recv 3 of group dp, waiting for rank 3");
  const Failure failure = diagnose({rank_waiting_for(0, {3})}, 0, &hang, kNow_ns);
  EXPECT_EQ(failure.code, ExitCode::kHang);
  EXPECT_EQ(failure.culprit, 3);
  EXPECT_THAT(failure.message, StartsWith("[hang] rank 3 does not answer"));
}

TEST(Diagnose, ALossThatOnlyTheNetworkSaw) {
  const PeerLostError lost("[comm] rank 0 in recv 3 of group dp, waiting for rank 1: connection reset");
  const Failure failure =
      diagnose({rank_waiting_for(0, {1}), rank_waiting_for(1, {}, ProcessState::kElsewhere)}, 0, &lost, kNow_ns);
  EXPECT_EQ(failure.code, ExitCode::kPeerLost);
  EXPECT_THAT(failure.message, StartsWith(lost.what()));
}

TEST(ReportFailure, OneRankPrintsAndTheLogKeepsIt) {
  const ScratchFolder folder;
  StatusWriter zero(folder.path(), 0, 2), one(folder.path(), 1, 2);
  const DataError bad("[data] a broken file");
  const std::bad_alloc memory;
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(report_failure(one, &bad), ExitCode::kData);
  EXPECT_EQ(report_failure(zero, &memory), ExitCode::kOutOfMemory);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "[data] a broken file\n");
  EXPECT_EQ(testing::read_file(folder / "log.txt"), "[rank 1] [data] a broken file\n");
  EXPECT_EQ(read_status(folder.path(), 0)->end, RankEnd::kFailed);
}

// What an earlier start of the run reported is no word about this one; status/ holds nothing but ranks.
TEST(ReportFailure, EachStartOfARunReportsAnew) {
  const ScratchFolder folder;
  const DataError bad("[data] a broken file");
  for (const uint64_t run : {1, 2}) {
    StatusWriter zero(folder.path(), 0, 1, run);
    ::testing::internal::CaptureStderr();
    report_failure(zero, &bad);
    EXPECT_EQ(::testing::internal::GetCapturedStderr(), "[data] a broken file\n") << run;
    const auto status = std::filesystem::directory_iterator(status_folder(folder.path()));
    EXPECT_EQ(std::distance(begin(status), end(status)), 1);
  }
  EXPECT_EQ(folder.names(), (std::vector<std::string>{".reported-0000000000000002", "log.txt"}));
}

}  // namespace
}  // namespace trine
