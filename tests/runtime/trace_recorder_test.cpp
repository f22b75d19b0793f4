#include "runtime/step/trace_recorder.h"

#include <gtest/gtest.h>

namespace trine {
namespace {

TEST(TraceRecorder, GivesAStepsEventsInOrder) {
  TraceRecorder recorder(64);
  for (int step = 1; step <= 3; ++step)
    for (int node = 0; node < 5; ++node) recorder.record({.step = step, .node = node});
  const std::vector<TraceEvent> events = recorder.step(2);
  ASSERT_EQ(events.size(), 5u);
  for (int node = 0; node < 5; ++node) {
    EXPECT_EQ(events[static_cast<size_t>(node)].step, 2);
    EXPECT_EQ(events[static_cast<size_t>(node)].node, node);
  }
  EXPECT_TRUE(recorder.step(4).empty());
  EXPECT_TRUE(recorder.step(0).empty());
  EXPECT_TRUE(TraceRecorder(8).step(0).empty());
}

TEST(TraceRecorder, KeepsTheNewestAndCountsWhatAStepLost) {
  TraceRecorder recorder(6);  // rounded up to 8
  for (int step = 1; step <= 10; ++step)
    for (int node = 0; node < 3; ++node) recorder.record({.step = step, .node = node});
  EXPECT_EQ(recorder.dropped(), 0);  // old steps leaving is what a ring is for
  EXPECT_EQ(recorder.step(10).size(), 3u);
  EXPECT_EQ(recorder.step(9).size(), 3u);
  EXPECT_EQ(recorder.step(8).size(), 2u);
  for (int node = 0; node < 20; ++node) recorder.record({.step = 11, .node = node});
  EXPECT_EQ(recorder.dropped(), 12);
  ASSERT_EQ(recorder.step(11).size(), 8u);
  EXPECT_EQ(recorder.step(11).front().node, 12);
  EXPECT_EQ(recorder.step(11).back().node, 19);
}

TEST(TraceRecorder, ValidationBetweenStepsDisturbsNothing) {
  TraceRecorder recorder(16);
  for (int node = 0; node < 4; ++node) recorder.record({.step = 1, .node = node});
  for (int node = 0; node < 40; ++node) recorder.record({.step = 0, .node = node});
  for (int node = 0; node < 4; ++node) recorder.record({.step = 2, .node = node});
  recorder.record({.step = 0});
  EXPECT_EQ(recorder.step(2).size(), 4u);
  EXPECT_TRUE(recorder.step(1).empty());
  EXPECT_EQ(recorder.dropped(), 0);
}

}  // namespace
}  // namespace trine
