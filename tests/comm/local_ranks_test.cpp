#include "comm/local/local_ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <latch>

#include "comm/lane_thread.h"
#include "comm/world.h"
#include "tests/comm/collective_checks.h"

namespace trine {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The message of the error that f() throws.
template <typename E, typename F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  return "nothing was thrown";
}

class LocalGroup : public testing::TestWithParam<int> {};

TEST_P(LocalGroup, CollectivesGiveTheBitsOfTheSerialReference) {
  run_local_ranks(GetParam(), [](Fabric& fabric) {
    CommWorld world(fabric, {.dp = fabric.num_ranks()}, 60s);
    Bytes results;
    check_collectives(world[Group::kDp], results);
  });
}

TEST_P(LocalGroup, MessagesFindTheirReceives) {
  run_local_ranks(GetParam(), [](Fabric& fabric) {
    CommWorld world(fabric, {.pp = fabric.num_ranks()}, 60s);
    for (unsigned seed = 0; seed < 20; ++seed) check_message_storm(world[Group::kPipeline], seed);
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, LocalGroup, testing::Values(1, 2, 3, 4, 5));

// Each group of the mesh is apart from the others, also while several lanes of a rank talk at once.
TEST(LocalWorld, GroupsOfTheMeshOnTheirOwnLanes) {
  const Mesh mesh{.pp = 2, .dp = 3, .tp = 2};
  run_local_ranks(mesh.num_ranks(), [&](Fabric& fabric) {
    CommWorld world(fabric, mesh, 60s);
    std::vector<std::unique_ptr<LaneThread>> lanes;
    std::vector<int64_t> sums(kGroups.size());
    for (int round = 0; round < 20; ++round) {
      std::vector<std::pair<LaneThread*, LaneThread::Ticket>> tickets;
      for (size_t g = 0; g < kGroups.size(); ++g) {
        if (round == 0) lanes.push_back(std::make_unique<LaneThread>(std::string(name(kGroups[g]))));
        sums[g] = fabric.rank() + round;
        tickets.emplace_back(lanes[g].get(),
                             lanes[g]->enqueue([&, g] { world[kGroups[g]].all_reduce(&sums[g], 1, DType::kI64); }));
      }
      for (const auto& [lane, ticket] : tickets) lane->wait(ticket);
      const auto sum_of = [&](const std::vector<int>& ranks) {
        int64_t sum = 0;
        for (const int rank : ranks) sum += rank + round;
        return sum;
      };
      const Coordinate at = world.coordinate();
      EXPECT_EQ(sums[0], 66 + 12 * round);
      EXPECT_EQ(sums[1], sum_of(mesh.group(at, Axis::kTp)));
      EXPECT_EQ(sums[2], sum_of(mesh.group(at, Axis::kDp)));
      EXPECT_EQ(sums[3], sum_of(mesh.group(at, Axis::kPp)));
      EXPECT_EQ(sums[4], sums[3]);
    }
  });
}

TEST(LocalWorld, ATimeoutNamesTheRankThatIsMissing) {
  std::latch given_up(3);
  std::vector<std::string> messages(4);
  run_local_ranks(4, [&](Fabric& fabric) {
    CommWorld world(fabric, {.dp = 4}, 300ms);
    std::vector<float> data(1000, 1.f);
    world[Group::kDp].all_reduce(data.data(), 1000, DType::kF32);
    if (fabric.rank() == 2) return given_up.wait();
    messages[fabric.rank()] =
        message_of<HangError>([&] { world[Group::kDp].all_reduce(data.data(), 1000, DType::kF32); });
    given_up.count_down();
  });
  for (const int rank : {0, 1, 3}) {
    EXPECT_THAT(messages[rank],
                HasSubstr(fmt::format("rank {} in all_reduce 2 of group dp, waiting for rank 2: no answer "
                                      "within 0.3 s",
                                      rank)));
  }
}

TEST(LocalWorld, AnExceptionOfOneRankFreesTheOthers) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::string> messages(4);
  const auto run = [&] {
    run_local_ranks(4, [&](Fabric& fabric) {
      CommWorld world(fabric, {.tp = 4}, 0s);
      if (fabric.rank() == 1) {
        std::this_thread::sleep_for(50ms);  // the others wait by now
        throw DataError("[data] broken");
      }
      messages[fabric.rank()] = message_of<PeerLostError>([&] { world[Group::kWorld].barrier(); });
    });
  };
  EXPECT_THROW(run(), DataError);
  EXPECT_LT(seconds_since(start), 1);
  EXPECT_THAT(messages[0],
              HasSubstr("rank 0 in barrier 1 of group world, waiting for rank 1: rank 1 failed: [data] broken"));
  EXPECT_THAT(messages[2], HasSubstr("rank 1 failed"));
  EXPECT_THAT(messages[3], HasSubstr("rank 1 failed"));
}

TEST(LocalWorld, WaitingForARankThatHasReturned) {
  const auto run = [] {
    run_local_ranks(2, [](Fabric& fabric) {
      CommWorld world(fabric, {.tp = 2}, 0s);
      if (fabric.rank() == 0) world[Group::kTp].recv(nullptr, 0, DType::kU8, 1, 0);
    });
  };
  EXPECT_THAT(message_of<PeerLostError>(run),
              HasSubstr("rank 0 in recv 1 of group tp, waiting for rank 1: rank 1 has"));
}

TEST(LocalWorld, MessagesOfDifferentSizesAreABug) {
  const auto run = [] {
    run_local_ranks(2, [](Fabric& fabric) {
      CommWorld world(fabric, {.tp = 2}, 10s);
      float data[2] = {};
      if (fabric.rank() == 0) world[Group::kTp].send(data, 2, DType::kF32, 1, 0);
      if (fabric.rank() == 1) world[Group::kTp].recv(data, 1, DType::kF32, 0, 0);
    });
  };
  EXPECT_THROW(run(), CheckError);
}

// No buffering: schedules that need it must not pass the tests by luck.
TEST(LocalWorld, ASendWaitsForItsReceive) {
  std::latch checked(1);
  run_local_ranks(2, [&](Fabric& fabric) {
    CommWorld world(fabric, {.pp = 2}, 10s);
    Communicator& pipeline = world[Group::kPipeline];
    int32_t value = fabric.rank() == 0 ? 7 : 0;
    if (fabric.rank() == 1) {
      checked.wait();
      pipeline.recv(&value, 1, DType::kI32, 0, 3);
      EXPECT_EQ(value, 7);
      return;
    }
    Request request = pipeline.isend(&value, 1, DType::kI32, 1, 3);
    EXPECT_FALSE(request.test());
    checked.count_down();
    request.wait();
    EXPECT_TRUE(request.test());
  });
}

TEST(LocalWorld, AWithdrawnReceiveTakesNoMessage) {
  run_local_ranks(2, [&](Fabric& fabric) {
    CommWorld world(fabric, {.pp = 2}, 10s);
    Communicator& pipeline = world[Group::kPipeline];
    int32_t value = 7, withdrawn = 0;
    if (fabric.rank() == 1) {
      value = 0;
      { Request request = pipeline.irecv(&withdrawn, 1, DType::kI32, 0, 3); }
      pipeline.barrier();
      pipeline.recv(&value, 1, DType::kI32, 0, 3);
      EXPECT_EQ(value, 7);
      EXPECT_EQ(withdrawn, 0);
    } else {
      pipeline.barrier();
      pipeline.send(&value, 1, DType::kI32, 1, 3);
    }
  });
}

}  // namespace
}  // namespace trine
