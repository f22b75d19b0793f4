#include "comm/lane_thread.h"

#include <gtest/gtest.h>
#include <latch>
#include <stdexcept>
#include <vector>

namespace trine {
namespace {

TEST(LaneThread, RunsInOrder) {
  LaneThread lane("test");
  std::vector<int> order;
  LaneThread::Ticket last = 0;
  for (int i = 0; i < 100; ++i) last = lane.enqueue([&order, i] { order.push_back(i); });
  lane.wait(last);
  EXPECT_TRUE(lane.done(last));
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

TEST(LaneThread, AnOperationUnderWayIsNotDone) {
  std::latch go(1);
  LaneThread lane("a name that is longer than a thread's");
  const LaneThread::Ticket ticket = lane.enqueue([&] { go.wait(); });
  EXPECT_TRUE(lane.done(0));
  EXPECT_FALSE(lane.done(ticket));
  go.count_down();
  lane.wait(ticket);
}

TEST(LaneThread, AnErrorSurfacesAtTheWaitAndStopsTheLane) {
  bool later_ran = false;
  LaneThread lane("test");
  const LaneThread::Ticket before = lane.enqueue([] {});
  const LaneThread::Ticket broken = lane.enqueue([] { throw std::runtime_error("broken"); });
  const LaneThread::Ticket later = lane.enqueue([&] { later_ran = true; });
  lane.wait(before);
  EXPECT_THROW(lane.wait(broken), std::runtime_error);
  EXPECT_THROW(lane.wait(broken), std::runtime_error);
  EXPECT_THROW(lane.wait(later), std::runtime_error);
  EXPECT_THROW(lane.wait(lane.enqueue([] {})), std::runtime_error);
  EXPECT_FALSE(later_ran);
}

TEST(LaneThread, EndsWithWhatHasBegun) {
  std::latch begun(1);
  bool finished = false, later_ran = false;
  {
    LaneThread lane("test");
    lane.enqueue([&] {
      begun.count_down();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      finished = true;
      throw std::runtime_error("nobody waits");
    });
    lane.enqueue([&] { later_ran = true; });
    begun.wait();
  }
  EXPECT_TRUE(finished);
  EXPECT_FALSE(later_ran);
}

}  // namespace
}  // namespace trine
