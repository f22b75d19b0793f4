#include "comm/emulated/host_mutex.h"

#include <chrono>
#include <csignal>
#include <gtest/gtest.h>
#include <new>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

namespace trine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class HostMutexTest : public testing::Test {
 protected:
  HostMutexTest()
      : memory_(::mmap(nullptr, sizeof(HostMutex), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
        mutex_(*new (memory_) HostMutex) {}
  ~HostMutexTest() override { ::munmap(memory_, sizeof(HostMutex)); }

  // A rank that takes the lock and then stops; told to go on, it gives it back and ends.
  pid_t rank_stopped_with_the_lock() {
    const pid_t child = ::fork();
    if (child == 0) {
      {
        const HostLock lock(mutex_, "the table", seconds(10));
        ::raise(SIGSTOP);
      }
      ::_exit(0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, WUNTRACED), child);
    EXPECT_TRUE(WIFSTOPPED(status));
    return child;
  }
  void take(std::chrono::milliseconds timeout) { const HostLock lock(mutex_, "the table", timeout); }

 private:
  void* memory_;
  HostMutex& mutex_;
};

TEST_F(HostMutexTest, SaysThatARankStandsStillWithIt) {
  const pid_t child = rank_stopped_with_the_lock();
  const auto begin = std::chrono::steady_clock::now();
  try {
    take(milliseconds(1));
    ADD_FAILURE() << "a rank has it";
  } catch (const HangError& error) {
    EXPECT_NE(std::string(error.what()).find("has kept the table for 1 s"), std::string::npos) << error.what();
  }
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(1));
  ::kill(child, SIGCONT);
  take(seconds(30));
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
}

TEST_F(HostMutexTest, IsInheritedFromARankThatDiesWithIt) {
  for (int i = 0; i < 3; ++i) {
    const pid_t child = rank_stopped_with_the_lock();
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    take(seconds(30));
  }
  const pid_t child = rank_stopped_with_the_lock();
  ::kill(child, SIGKILL);
  take(milliseconds(0));  // waits for as long as it takes
  ::waitpid(child, nullptr, 0);
}

}  // namespace
}  // namespace trine
