// Clocks that go apart while ranks train: the messages at a step's end, which go anyway, keep their offsets.
#include <cstdlib>
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "comm/local/local_ranks.h"
#include "runtime/device/backend.h"
#include "runtime/step/comm_lanes.h"

namespace trine {
namespace {

using namespace std::chrono_literals;

// A rank's clock is the true one and what this host's is ahead. Steps last 100 s: all ranks go there together, so
// that no message is under way meanwhile.
struct HostClock {
  int64_t skew_ns;
  int64_t drift_ns_per_step;
  int64_t step_ns = 100'000'000'000;
  int64_t ahead_ns(int64_t step) const { return skew_ns + step * drift_ns_per_step; }
};

void expect_offsets_that_follow(const Mesh& mesh) {
  // Two ranks a host. The longest time that messages may take on a busy machine is far below the drift of all steps.
  constexpr HostClock kHosts[] = {
      {0, 3'000'000}, {7'000'000'000, -4'000'000}, {-1'000'000, 4'500'000}, {50'000, 0}};
  constexpr int64_t kSteps = 60;
  run_local_ranks(mesh.num_ranks(), [&](Fabric& fabric) {
    CommWorld world(fabric, mesh, 60s);
    const int host = fabric.rank() / 2;
    int64_t step = 0;
    const auto time_ns = [&] { return now_ns() + step * HostClock{}.step_ns + kHosts[host].ahead_ns(step); };
    const auto true_offset = [&] { return kHosts[0].ahead_ns(step) - kHosts[host].ahead_ns(step); };
    CommLanes lanes(world, ClockAlignment(world, {time_ns, fmt::format("host {}", host)}));
    const auto backend = make_cpu_backend(1);
    lanes.attach(*backend);
    const ClockOffset at_start = lanes.clock();
    EXPECT_LE(std::abs(at_start.offset_ns - true_offset()), at_start.error_ns);
    for (; step < kSteps; ++step) {
      lanes.finish_step();
      lanes.realign_clocks();
      EXPECT_LE(std::abs(lanes.clock().offset_ns - true_offset()), lanes.clock().error_ns)
          << "rank " << fabric.rank() << " in step " << step;
      world[Group::kWorld].barrier();  // nobody is in the next step yet, and no message under way
    }
    lanes.detach();
    --step;
    if (host == 0) {
      EXPECT_EQ(lanes.clock(), ClockOffset{});
      return;
    }
    EXPECT_GT(std::abs(true_offset() - at_start.offset_ns), 80'000'000) << "wrong by that, if nobody looked again";
    EXPECT_LT(lanes.clock().error_ns, 80'000'000);
  });
}

TEST(ClockLanes, OffsetsFollowClocksAlongEveryAxis) { expect_offsets_that_follow({.pp = 2, .dp = 2, .tp = 2}); }

// Rank 7's clock is compared with its neighbour's, that one's with the one before it.
TEST(ClockLanes, OffsetsFollowClocksAlongAPipeline) { expect_offsets_that_follow({.pp = 8}); }

TEST(ClockLanes, NothingIsSentWhereAllReadOneClock) {
  run_local_ranks(4, [](Fabric& fabric) {
    CommWorld world(fabric, {.pp = 2, .dp = 2}, 60s);
    CommLanes lanes(world, ClockAlignment(world));
    const int64_t before = world[Group::kWorld].bytes_sent();
    lanes.realign_clocks();
    EXPECT_EQ(world[Group::kWorld].bytes_sent(), before);
    EXPECT_EQ(lanes.clock(), ClockOffset{});
  });
}

}  // namespace
}  // namespace trine
