#include "base/clock.h"

#include <chrono>
#include <gtest/gtest.h>

namespace trine {
namespace {

TEST(Clock, IsTheStandardLibrarysSteadyOne) {
  const auto steady_ns = [] { return std::chrono::steady_clock::now().time_since_epoch().count(); };
  const int64_t before = steady_ns(), now = now_ns(), after = steady_ns();
  EXPECT_LE(before, now);
  EXPECT_LE(now, after);
}

TEST(Clock, BecomesTheWallClock) {
  const auto wall_ns = [] {
    return std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count();
  };
  const int64_t before = wall_ns(), now = wall_clock_base_ns() + now_ns(), after = wall_ns();
  // The two clocks are read one after the other.
  EXPECT_NEAR(static_cast<double>(now), static_cast<double>(before), static_cast<double>(after - before) + 1e9);
}

}  // namespace
}  // namespace trine
