// The exit is the process's: each runs in one of its own.
#include "comm/watchdog.h"

#include <chrono>
#include <cstdlib>
#include <gtest/gtest.h>

#include "base/error.h"

namespace trine {
namespace {

using namespace std::chrono_literals;

TEST(Watchdog, EndsTheProcessWithTheVerdictOnceTheLimitIsOver) {
  EXPECT_EXIT(
      {
        Watchdog watchdog(50ms, [](const std::string& call, auto lasted, auto overdue) {
          const bool right = call == "MPI_Init" && lasted >= 50ms && overdue >= 0s && overdue < lasted;
          return std::optional(right ? 5 : 1);
        });
        const auto watch = Watchdog::over(&watchdog, "MPI_Init");
        std::this_thread::sleep_for(1h);
      },
      testing::ExitedWithCode(5), "");
}

TEST(Watchdog, AsksAgainWhileThereIsNoVerdict) {
  EXPECT_EXIT(
      {
        int asked = 0;
        Watchdog watchdog(
            1ms, [&](const std::string&, auto, auto) { return ++asked < 3 ? std::nullopt : std::optional(asked); });
        const auto watch = Watchdog::over(&watchdog, "MPI_Finalize");
        std::this_thread::sleep_for(1h);
      },
      testing::ExitedWithCode(3), "");
}

TEST(Watchdog, CallsThatReturnAreNotItsBusiness) {
  EXPECT_EXIT(
      {
        Watchdog watchdog(10s, [](const std::string&, auto, auto) { return std::optional(1); });
        for (int i = 0; i < 1000; ++i) const auto watch = Watchdog::over(&watchdog, "MPI_Comm_split");
        watchdog.set_limit(1ms);
        std::this_thread::sleep_for(50ms);  // nothing is under way
        std::exit(0);
      },
      testing::ExitedWithCode(0), "");
}

TEST(Watchdog, ALimitBeyondTheClockIsNone) {
  EXPECT_EXIT(
      {
        Watchdog watchdog(Watchdog::Duration(1e300),
                          [](const std::string&, auto, auto) { return std::optional(1); });
        {
          const auto watch = Watchdog::over(&watchdog, "MPI_Init");
          std::this_thread::sleep_for(50ms);
        }
        std::exit(0);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace trine
