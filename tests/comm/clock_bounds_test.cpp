// Offsets of clocks from the messages of a run, on clocks and messages that are simulated: what is true is known.
#include "comm/clock_bounds.h"

#include <cmath>
#include <cstdlib>
#include <gtest/gtest.h>
#include <random>

namespace trine {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

// What a clock shows at a true time: `ahead_ns` more, and `drift_ppm` of the time that has passed.
struct SimulatedClock {
  int64_t ahead_ns;
  double drift_ppm;
  int64_t at(int64_t time_ns) const {
    return time_ns + ahead_ns + std::llround(static_cast<double>(time_ns) * drift_ppm * 1e-6);
  }
};

struct SimulatedRun {
  std::vector<SimulatedClock> clocks;  // by rank
  std::vector<int> clock_of;
  std::vector<std::pair<int, int>> edges;  // messages go both ways
  std::mt19937 random{7};

  // A message takes 20 us, and is noticed up to `noticed_us` later.
  ClockBound message(int from, int to, int64_t time_ns, int noticed_us) {
    const int64_t late_ns = std::uniform_int_distribution<int64_t>(0, noticed_us * 1000)(random);
    ClockBound bound{from, to};
    bound.message(clocks[static_cast<size_t>(from)].at(time_ns),
                  clocks[static_cast<size_t>(to)].at(time_ns + 20'000 + late_ns));
    return bound;
  }
  int64_t true_offset(int rank, int64_t time_ns) const {
    return clocks[0].at(time_ns) - clocks[static_cast<size_t>(rank)].at(time_ns);
  }
  // Of a tracker that was told at true time 0, rightly.
  ClockTracker tracker() const {
    std::vector<ClockOffset> measured;
    for (size_t rank = 0; rank < clocks.size(); ++rank)
      measured.push_back(clock_of[rank] == 0 ? ClockOffset{}
                                             : ClockOffset{true_offset(static_cast<int>(rank), 0), 5000});
    return {measured, clock_of, clocks[0].at(0)};
  }
  // Steps of one second; after each the offsets must be right within their errors. Returns the largest error of the
  // last half of the steps.
  int64_t steps(ClockTracker& tracker, int count, int noticed_us) {
    int64_t largest = 0;
    for (int step = 1; step <= count; ++step) {
      const int64_t time_ns = step * kSecond;
      std::vector<ClockBound> bounds;
      for (const auto& [a, b] : edges)
        bounds.push_back(message(a, b, time_ns, noticed_us)), bounds.push_back(message(b, a, time_ns, noticed_us));
      tracker.update(bounds, clocks[0].at(time_ns + 1'000'000));
      for (size_t rank = 0; rank < clocks.size(); ++rank) {
        const ClockOffset& offset = tracker.offsets()[rank];
        EXPECT_LE(std::abs(offset.offset_ns - true_offset(static_cast<int>(rank), time_ns)), offset.error_ns)
            << "rank " << rank << " after step " << step;
        if (2 * step > count) largest = std::max(largest, offset.error_ns);
      }
    }
    return largest;
  }
};

// Four ranks on three hosts, in a chain, as the stages of a pipeline are: who is three clocks away has all errors of
// the way. 80 ppm between the clocks are 288 ms in an hour.
SimulatedRun chain() {
  return {.clocks = {{0, 20}, {0, 20}, {5 * kSecond, -30}, {-3600 * kSecond, 50}},
          .clock_of = {0, 0, 2, 3},
          .edges = {{0, 1}, {1, 2}, {2, 3}}};
}

TEST(ClockBounds, FollowClocksThatDriftForAnHour) {
  SimulatedRun run = chain();
  ClockTracker tracker = run.tracker();
  EXPECT_LT(run.steps(tracker, 3600, 800), 1'500'000) << "nanoseconds";
  const int64_t moved = run.true_offset(3, 3600 * kSecond) - run.true_offset(3, 0);
  EXPECT_GT(std::abs(moved), 100'000'000) << "the offset of the start would be wrong by that";
  EXPECT_EQ(tracker.offsets()[0], ClockOffset{});
  EXPECT_EQ(tracker.offsets()[1], ClockOffset{}) << "the same clock as rank 0's";
}

// What a message took makes a bound loose; over steps the tightest of both directions count.
TEST(ClockBounds, TheQuickestMessagesOfManyStepsCount) {
  SimulatedRun run{.clocks = {{0, 0}, {7 * kSecond, 0}}, .clock_of = {0, 1}, .edges = {{0, 1}}};
  ClockTracker tracker({ClockOffset{}, ClockOffset{run.true_offset(1, 0), 50'000'000}}, run.clock_of, 0);
  EXPECT_LT(run.steps(tracker, 300, 40'000), 8'000'000) << "one pair of messages gives 20 ms on average";
}

// Without messages nothing is known but how far clocks can have drifted since.
TEST(ClockBounds, WithoutMessagesTheErrorGrowsAsClocksDrift) {
  SimulatedRun run = chain();
  ClockTracker tracker = run.tracker();
  run.edges.clear();
  run.steps(tracker, 100, 0);
  EXPECT_NEAR(static_cast<double>(tracker.offsets()[2].error_ns), 5000 + 100.0 * kMaxDriftPpm * 1000, 100'000);
}

// Messages of one direction alone bound one side: the error says so.
TEST(ClockBounds, OneDirectionGivesNoOffset) {
  SimulatedRun run{.clocks = {{0, 0}, {2 * kSecond, 0}}, .clock_of = {0, 1}, .edges = {}};
  ClockTracker tracker({ClockOffset{}, ClockOffset{-2 * kSecond, 10'000'000}}, run.clock_of, 0);
  tracker.update(std::vector{run.message(0, 1, kSecond, 0)}, kSecond);
  EXPECT_LE(std::abs(tracker.offsets()[1].offset_ns + 2 * kSecond), tracker.offsets()[1].error_ns);
  EXPECT_GT(tracker.offsets()[1].error_ns, 4'900'000);
}

// Somebody sets a clock by a second: the messages are right, and what was known is not.
TEST(ClockBounds, AClockThatIsSetIsFoundAgain) {
  SimulatedRun run = chain();
  ClockTracker tracker = run.tracker();
  run.steps(tracker, 10, 100);
  run.clocks[2].ahead_ns += kSecond;
  EXPECT_LT(run.steps(tracker, 20, 100), 1'000'000);
}

}  // namespace
}  // namespace trine
