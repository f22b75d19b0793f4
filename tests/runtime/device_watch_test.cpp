#include "runtime/device/device_watch.h"

#include <atomic>
#include <gtest/gtest.h>

#include "base/error.h"

namespace trine {
namespace {

using std::chrono::milliseconds;

// Work that moves on when the test says so.
class Steps final : public Timeline {
 public:
  std::atomic<int64_t> made = 0, reached = 0;
  bool asynchronous() const override { return true; }
  void begin_step() override {}
  Mark mark(Queue) override { return 0; }
  void wait(Queue, Mark) override {}
  void synchronize(Mark) override {}
  void synchronize_all() override {}
  int64_t time_ns(Mark) const override { return 0; }
  Progress progress() override { return {made, reached}; }
  void push(const char*) override {}
  void pop() override {}
};

class World final : public DeviceWorld {
 public:
  std::atomic<bool> broken = false, aborted = false;
  DeviceGroup& operator[](Axis) override { throw std::logic_error("unused"); }
  void send(PipelineEdge, const void*, int64_t, void*) override {}
  void receive(PipelineEdge, void*, int64_t, void*) override {}
  void check() override {
    if (broken) throw PeerLostError("[comm] a peer has ended");
  }
  void abort(std::exception_ptr) override { aborted = true; }
};

void wait_until(const std::atomic<bool>& flag) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!flag && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_TRUE(flag);
}

TEST(DeviceWatch, WorkThatDoesNotMoveIsAbortedAndNamesTheTimeout) {
  Steps steps;
  World world;
  DeviceWatch watch(steps, world, 3, milliseconds(40));
  steps.made = 5, steps.reached = 4;
  wait_until(world.aborted);
  try {
    watch.check();
    FAIL() << "no error";
  } catch (const HangError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("rank 3"), std::string::npos) << text;
    EXPECT_NE(text.find("no answer within 0.04 s"), std::string::npos) << text;
    EXPECT_NE(text.find("--timeout"), std::string::npos) << text;
  }
}

TEST(DeviceWatch, WorkThatMovesOnAndNoWorkMayTakeLonger) {
  Steps steps;
  World world;
  DeviceWatch watch(steps, world, 0, milliseconds(2000));
  for (int i = 0; i < 10; ++i) {
    steps.made = 100, steps.reached = i;
    std::this_thread::sleep_for(milliseconds(250));
  }
  EXPECT_NO_THROW(watch.check());
  steps.reached = 100;
  std::this_thread::sleep_for(milliseconds(2500));
  EXPECT_NO_THROW(watch.check());
  EXPECT_FALSE(world.aborted);
}

TEST(DeviceWatch, AGroupThatFailsIsAbortedWithItsError) {
  Steps steps;
  World world;
  DeviceWatch watch(steps, world, 0, milliseconds(0));
  EXPECT_NO_THROW(watch.check());
  world.broken = true;
  wait_until(world.aborted);
  EXPECT_THROW(watch.check(), PeerLostError);
}

}  // namespace
}  // namespace trine
