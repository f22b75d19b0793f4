#include "runtime/training/stop_signal.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/data/scratch.h"

namespace trine {
namespace {

using testing::ScratchFolder;

const Launch kShell, kMpirun{.num_ranks = 4, .launched = true},
    kSrun{.num_ranks = 4, .launched = true, .passes_signals = true};

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
  for (const auto& [signal, reason] :
       {std::pair{SIGINT, "SIGINT"}, {SIGTERM, "SIGTERM"}, {SIGHUP, "SIGHUP"}, {SIGUSR1, "SIGUSR1"}}) {
    std::signal(SIGHUP, SIG_DFL);
    StopSignal stop(kShell);
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
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) {
    struct sigaction saved {
    }, after{};
    ::sigaction(signal, &before, &saved);
    { const StopSignal stop(kShell); }
    ::sigaction(signal, &saved, &after);
    EXPECT_EQ(after.sa_handler, SIG_IGN);
  }
}

TEST(StopSignal, ASecondSigintEndsTheProcess) {
  const int status = in_child([] {
    StopSignal stop(kShell);
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
              StopSignal stop(kMpirun);
              ::raise(SIGUSR1);
              ::raise(SIGUSR1);
              return stop.stop_requested() && stop.reason() == "SIGUSR1" ? 0 : 1;
            }),
            0);
}

TEST(StopSignal, LeavesSigtermToALauncher) {
  const int status = in_child([] {
    const StopSignal stop(kMpirun);
    ::raise(SIGTERM);
    return 0;
  });
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
}

// Slurm sends SIGTERM to each rank, and srun, which gets it too, passes it on: that is one wish.
TEST(StopSignal, UnderSrunEverySignalIsTheSameWish) {
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1})
    EXPECT_EQ(in_child([signal] {
                StopSignal stop(kSrun);
                ::raise(signal);
                ::raise(signal);
                return stop.stop_requested() && stop.takes_sigterm() ? 0 : 1;
              }),
              0)
        << signal;
}

TEST(StopSignal, NohupIsRespected) {
  EXPECT_EQ(in_child([] {
              std::signal(SIGHUP, SIG_IGN);
              StopSignal stop(kShell);
              ::raise(SIGHUP);
              return stop.stop_requested() ? 1 : 0;
            }),
            0);
}

// What is saved is saved: however often the scheduler asks, at whatever moment.
TEST(StopSignal, NoSignalHarmsAProcessThatEndsWell) {
  EXPECT_EQ(in_child([] {
              {
                StopSignal stop(kShell);
                for (const int signal : {SIGUSR1, SIGTERM}) ::raise(signal);
                stop.hold();
                for (const int signal : {SIGUSR1, SIGTERM, SIGTERM, SIGINT, SIGINT, SIGHUP}) ::raise(signal);
              }
              for (const int signal : {SIGUSR1, SIGTERM, SIGINT, SIGHUP}) ::raise(signal);
              return 0;
            }),
            0);
  // Not held, as after an error: a scheduler's SIGUSR1 is no reason to end otherwise than by the error's code.
  EXPECT_EQ(in_child([] {
              { const StopSignal stop(kMpirun); }
              ::raise(SIGUSR1);
              return 3;
            }),
            3 << 8);
}

TEST(StopSignal, ReleasedItLetsASignalDoWhatItDoes) {
  for (const bool before : {true, false}) {
    const int status = in_child([before] {
      StopSignal stop(kShell);
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
    StopSignal stop(kShell);
    stop.watch_file(folder / "stop");
    EXPECT_FALSE(stop.stop_requested());
    testing::write_file(folder / "stop", "");
    EXPECT_TRUE(stop.stop_requested());
    EXPECT_EQ(stop.reason(), "stop file");
    EXPECT_TRUE(stop.stop_requested());
  }
  EXPECT_TRUE(folder.names().empty());
  StopSignal next(kShell);
  next.watch_file(folder / "stop");
  EXPECT_FALSE(next.stop_requested());
}

}  // namespace
}  // namespace trine
