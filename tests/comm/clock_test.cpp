#include "comm/clock.h"

#include <chrono>
#include <cstdlib>
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "comm/local/local_ranks.h"
#include "comm/world.h"

namespace trine {
namespace {

using namespace std::chrono_literals;

int64_t steady_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

TEST(Clock, FindsTheSkewOfEachRankWithinTheErrorItNames) {
  constexpr int kRanks = 4;
  // What each rank's clock shows more than the true time.
  constexpr int64_t kSkew_ns[kRanks] = {5'000'000'000, 0, -3'600'000'000'000, 5'000'012'345};
  run_local_ranks(kRanks, [&](Fabric& fabric) {
    CommWorld world(fabric, {.dp = kRanks}, 60s);
    const int rank = fabric.rank();
    const auto offsets =
        align_clocks(world[Group::kWorld], {[&] { return steady_ns() + kSkew_ns[rank]; }, ""}).offsets;
    ASSERT_EQ(offsets.size(), size_t{kRanks});
    EXPECT_EQ(offsets[0].offset_ns, 0);
    EXPECT_EQ(offsets[0].error_ns, 0);
    for (int r = 1; r < kRanks; ++r) {
      EXPECT_GT(offsets[r].error_ns, 0);
      EXPECT_LT(offsets[r].error_ns, 20'000'000);
      EXPECT_LE(std::abs(offsets[r].offset_ns - (kSkew_ns[0] - kSkew_ns[r])), offsets[r].error_ns) << "rank " << r;
    }
  });
}

// The quickest round counts: a clock that stands still in every other round but one hides nothing.
TEST(Clock, TheQuickestRoundCounts) {
  run_local_ranks(2, [](Fabric& fabric) {
    CommWorld world(fabric, {.dp = 2}, 60s);
    // Simulated time: rank 1's rounds last 100, 98, ... 2, then longer again; rank 0 always shows 1000.
    int64_t calls = 0, time = 0;
    const auto clock = [&]() -> int64_t {
      if (fabric.rank() == 0) return 1000;
      const int64_t round = calls++ / 2;
      return time += std::abs(100 - 2 * round);
    };
    const auto offsets = align_clocks(world[Group::kWorld], {clock, ""}, 60).offsets;
    EXPECT_EQ(offsets[1].error_ns, 0);
    // In round 50 the clock stands at twice the sum of all steps before it: 2 * (100 + 98 + ... + 2).
    EXPECT_EQ(offsets[1].offset_ns, 1000 - 2 * 2550);
  });
}

// Three clocks: ranks 0 and 1 read the first, 2 and 3 the second. Whoever reads another's asks nobody.
TEST(Clock, RanksOfOneClockHaveOneOffset) {
  constexpr int kRanks = 5;
  constexpr int64_t kSkew_ns[kRanks] = {0, 0, 7'000'000'000, 7'000'000'000, -2'000'000'000};
  const std::string kIdentities[kRanks] = {"host a", "host a", "host b", "host b", "host c"};
  run_local_ranks(kRanks, [&](Fabric& fabric) {
    CommWorld world(fabric, {.dp = kRanks}, 60s);
    const auto rank = static_cast<size_t>(fabric.rank());
    bool asked = false;
    const auto clock = [&] {
      asked = true;
      return steady_ns() + kSkew_ns[rank];
    };
    const auto offsets = align_clocks(world[Group::kWorld], {clock, kIdentities[rank]}).offsets;
    EXPECT_EQ(asked, rank != 1 && rank != 3) << "rank " << rank;
    for (size_t r : {0, 1}) {
      EXPECT_EQ(offsets[r].offset_ns, 0);
      EXPECT_EQ(offsets[r].error_ns, 0);
    }
    EXPECT_EQ(offsets[3].offset_ns, offsets[2].offset_ns);
    EXPECT_EQ(offsets[3].error_ns, offsets[2].error_ns);
    for (size_t r : {2, 4}) EXPECT_LE(std::abs(offsets[r].offset_ns + kSkew_ns[r]), offsets[r].error_ns);
  });
}

// What is not known to be apart is taken to be together: rank 1 measures its offset within 50.
TEST(Clock, OffsetsWithinTheirErrorAreNone) {
  for (const auto& [rank_0_shows, want] :
       {std::pair<int64_t, ClockOffset>{80, {0, 80}}, {110, {60, 50}}, {0, {0, 100}}})
    run_local_ranks(2, [&, time = rank_0_shows, expected = want](Fabric& fabric) {
      CommWorld world(fabric, {.dp = 2}, 60s);
      int64_t calls = 0;
      const auto clock = [&]() -> int64_t { return fabric.rank() == 0 ? time : calls++ % 2 * 100; };
      const auto offsets =
          align_clocks(world[Group::kWorld], {clock, fmt::format("host {}", fabric.rank())}).offsets;
      EXPECT_EQ(offsets[1].offset_ns, expected.offset_ns) << time;
      EXPECT_EQ(offsets[1].error_ns, expected.error_ns) << time;
    });
}

TEST(Clock, RanksOfThisHostShareItsClock) {
  const std::string identity = host_clock().identity;
  EXPECT_GE(identity.size(), 36u) << "the boot's UUID, and the time namespace: " << identity;
  run_local_ranks(3, [&](Fabric& fabric) {
    CommWorld world(fabric, {.dp = 3}, 60s);
    for (const ClockOffset& clock : align_clocks(world[Group::kWorld]).offsets) {
      EXPECT_EQ(clock.offset_ns, 0);
      EXPECT_EQ(clock.error_ns, 0);
    }
  });
}

TEST(Clock, AloneThereIsNothingToAlign) {
  run_local_ranks(1, [](Fabric& fabric) {
    CommWorld world(fabric, {}, 60s);
    const auto offsets = align_clocks(world[Group::kWorld]).offsets;
    ASSERT_EQ(offsets.size(), 1u);
    EXPECT_EQ(offsets[0].offset_ns, 0);
    EXPECT_EQ(offsets[0].error_ns, 0);
  });
}

}  // namespace
}  // namespace trine
