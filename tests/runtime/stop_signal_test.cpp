#include "runtime/stop_signal.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/data/scratch.h"

namespace trine {
namespace {

using testing::ScratchFolder;

// The wait status of a child that runs f() and then returns its result.
template <typename F>
int in_child(F f) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(f());
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

TEST(StopSignal, SignalsAskForAStopAndAreNamed) {
  for (const auto& [signal, reason] : {std::pair{SIGINT, "SIGINT"}, {SIGTERM, "SIGTERM"}, {SIGUSR1, "SIGUSR1"}}) {
    StopSignal stop(false);
    EXPECT_FALSE(stop.stop_requested());
    EXPECT_EQ(stop.reason(), "");
    ::kill(::getpid(), signal);
    EXPECT_TRUE(stop.stop_requested());
    EXPECT_EQ(stop.reason(), reason);
    EXPECT_TRUE(stop.stop_requested());
  }
}

TEST(StopSignal, PutsBackWhatWasThere) {
  struct sigaction before {};
  before.sa_handler = SIG_IGN;
  for (int signal : {SIGINT, SIGTERM, SIGUSR1}) {
    struct sigaction saved {
    }, after{};
    ::sigaction(signal, &before, &saved);
    { const StopSignal stop(false); }
    ::sigaction(signal, &saved, &after);
    EXPECT_EQ(after.sa_handler, SIG_IGN);
  }
}

TEST(StopSignal, ASecondSigintEndsTheProcess) {
  const int status = in_child([] {
    StopSignal stop(false);
    ::raise(SIGINT);
    if (!stop.stop_requested()) return 1;
    ::raise(SIGINT);
    return 0;
  });
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_EQ(WTERMSIG(status), SIGINT);
}

TEST(StopSignal, ManySigusr1AreOneWish) {
  EXPECT_EQ(in_child([] {
              StopSignal stop(true);
              ::raise(SIGUSR1);
              ::raise(SIGUSR1);
              return stop.stop_requested() && stop.reason() == "SIGUSR1" ? 0 : 1;
            }),
            0);
}

TEST(StopSignal, LeavesSigtermToALauncher) {
  const int status = in_child([] {
    const StopSignal stop(true);
    ::raise(SIGTERM);
    return 0;
  });
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
}

TEST(StopSignal, ReleasedItLetsASignalDoWhatItDoes) {
  for (const bool before : {true, false}) {
    const int status = in_child([before] {
      StopSignal stop(false);
      if (before) ::raise(SIGTERM);
      stop.release();
      if (!before) ::raise(SIGTERM);
      return 0;
    });
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
    EXPECT_EQ(WTERMSIG(status), SIGTERM);
  }
}

TEST(StopSignal, AStopFileIsHonouredOnce) {
  const ScratchFolder folder;
  {
    StopSignal stop(false);
    stop.watch_file(folder / "stop");
    EXPECT_FALSE(stop.stop_requested());
    testing::write_file(folder / "stop", "");
    EXPECT_TRUE(stop.stop_requested());
    EXPECT_EQ(stop.reason(), "stop file");
    EXPECT_TRUE(stop.stop_requested());
  }
  EXPECT_TRUE(folder.names().empty());
  StopSignal next(false);
  next.watch_file(folder / "stop");
  EXPECT_FALSE(next.stop_requested());
}

}  // namespace
}  // namespace trine
