#include "comm/pipeline_lane.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <latch>

#include "base/error.h"
#include "comm/local/local_ranks.h"
#include "comm/world.h"
#include "tests/comm/pipeline_checks.h"

namespace trine {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::ThrowsMessage;

// program(lane, rank) on ranks that are one pipeline.
void run_pipeline(int ranks, std::chrono::milliseconds timeout,
                  const std::function<void(PipelineLane&, int rank)>& program) {
  run_local_ranks(ranks, [&](Fabric& fabric) {
    CommWorld world(fabric, {.pp = ranks}, timeout);
    PipelineLane lane("test", world[Group::kPipeline]);
    program(lane, fabric.rank());
  });
}

TEST(PipelineLane, EdgesKeepTheirOrder) {
  for (const int ranks : {2, 3, 5})
    run_local_ranks(ranks, [&](Fabric& fabric) {
      CommWorld world(fabric, {.pp = ranks}, 60s);
      std::vector<std::byte> results;
      check_pipeline(world[Group::kPipeline], results);
    });
}

// One FIFO for all would stand still: each rank's first message is one that the other receives last.
TEST(PipelineLane, EdgesDoNotWaitForEachOther) {
  run_pipeline(2, 10s, [](PipelineLane& lane, int rank) {
    int64_t forward = 10 + rank, backward = 20 + rank, got_forward = 0, got_backward = 0;
    lane.send(&forward, 8, 1 - rank, 0);
    lane.send(&backward, 8, 1 - rank, 1);
    lane.wait(lane.receive(&got_backward, 8, 1 - rank, 1));
    lane.wait(lane.receive(&got_forward, 8, 1 - rank, 0));
    lane.wait_all();
    EXPECT_EQ(got_forward, 11 - rank);
    EXPECT_EQ(got_backward, 21 - rank);
  });
}

// Its owner may wait for it before, after, never or twice.
TEST(PipelineLane, AMessageMovesWhileNobodyWaits) {
  std::latch arrived(2);
  run_pipeline(2, 10s, [&](PipelineLane& lane, int rank) {
    const int64_t begin = std::chrono::steady_clock::now().time_since_epoch().count();
    std::vector<std::byte> data(1 << 20, std::byte(rank));
    const auto ticket = rank == 0 ? lane.send(data.data(), std::ssize(data), 1, 0)
                                  : lane.receive(data.data(), std::ssize(data), 0, 0);
    std::this_thread::sleep_for(50ms);
    const int64_t woken = std::chrono::steady_clock::now().time_since_epoch().count();
    const int64_t complete = lane.wait(ticket);
    EXPECT_GE(complete, begin);
    EXPECT_LE(complete, woken) << "it only moved once somebody waited";
    EXPECT_EQ(lane.wait(ticket), 0) << "waited for before";
    EXPECT_EQ(lane.wait(0), 0);
    if (rank == 1) {
      EXPECT_EQ(data.back(), std::byte{0});
    }
    arrived.arrive_and_wait();
  });
}

TEST(PipelineLane, ATimeoutNamesTheRankThatIsMissing) {
  std::latch given_up(1);
  run_pipeline(3, 200ms, [&](PipelineLane& lane, int rank) {
    int64_t data = 0;
    if (rank == 1) {
      lane.wait(lane.send(&data, 8, 2, 0));  // the other edge still works
      const auto ticket = lane.receive(&data, 8, 0, 0);
      EXPECT_THAT(
          [&] { lane.wait(ticket); },
          ThrowsMessage<HangError>(HasSubstr("of group pipeline, waiting for rank 0: no answer within 0.2 s")));
      given_up.count_down();
    }
    if (rank == 2) lane.wait(lane.receive(&data, 8, 1, 0));
    given_up.wait();
  });
}

TEST(PipelineLane, APeerThatFailsEndsTheWait) {
  const auto run = [] {
    run_pipeline(2, 0s, [](PipelineLane& lane, int rank) {
      int64_t data = 0;
      if (rank == 0) throw DataError("[data] broken");
      const auto first = lane.receive(&data, 8, 0, 0), second = lane.send(&data, 8, 0, 1);
      std::this_thread::sleep_for(20ms);  // the lane's thread meets it first
      for (const auto ticket : {first, second})
        EXPECT_THAT([&] { lane.wait(ticket); },
                    ThrowsMessage<PeerLostError>(HasSubstr("waiting for rank 0: rank 0 failed: [data] broken")));
    });
  };
  EXPECT_THROW(run(), DataError);
}

// Withdrawn: nothing is written into a buffer that is gone.
TEST(PipelineLane, EndsWithMessagesOutstanding) {
  std::latch gone(1);
  run_local_ranks(2, [&](Fabric& fabric) {
    CommWorld world(fabric, {.pp = 2}, 10s);
    Communicator& group = world[Group::kPipeline];
    std::vector<int32_t> data(1000, 7), late(1000, 9);
    if (fabric.rank() == 0) {
      {
        PipelineLane lane("test", group);
        lane.receive(data.data(), 4000, 1, 0);
        lane.send(data.data(), 4000, 1, 1);
      }
      gone.count_down();
      group.recv(late.data(), 1000, DType::kI32, 1, 0);
      EXPECT_EQ(data, std::vector<int32_t>(1000, 7));
      EXPECT_EQ(late, std::vector<int32_t>(1000, 5));
    } else {
      gone.wait();
      std::vector<int32_t> sent(1000, 5);
      group.send(sent.data(), 1000, DType::kI32, 0, 0);
    }
  });
}

}  // namespace
}  // namespace trine
