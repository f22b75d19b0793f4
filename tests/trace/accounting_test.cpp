#include "trace/accounting.h"

#include <gtest/gtest.h>
#include <numeric>
#include <random>
#include <vector>

namespace trine {
namespace {

TraceEvent event(Lane lane, EventKind kind, int64_t t0, int64_t t1) {
  return {.t0_ns = t0, .t1_ns = t1, .lane = lane, .kind = kind};
}

double ns(double seconds) { return seconds * 1e9; }

TEST(Accounting, AnEmptyStepIsIdle) {
  const StepBreakdown b = account({}, 100, 350);
  EXPECT_DOUBLE_EQ(ns(b.step_s), 250);
  EXPECT_DOUBLE_EQ(ns(b[EventKind::kIdle]), 250);
  EXPECT_EQ(account({}, 5, 5).step_s, 0);
}

TEST(Accounting, CommunicationCountsOnlyWhereNothingHidesIt) {
  const std::vector<TraceEvent> events = {
      event(Lane::kCompute, EventKind::kCompute, 0, 60), event(Lane::kDp, EventKind::kCommDp, 40, 90),
      event(Lane::kTp, EventKind::kCommTp, 80, 100), event(Lane::kHost, EventKind::kData, 100, 110)};
  const StepBreakdown b = account(events, 0, 120);
  EXPECT_DOUBLE_EQ(ns(b[EventKind::kCompute]), 60);
  EXPECT_DOUBLE_EQ(ns(b[EventKind::kCommDp]), 20);  // 60..80
  EXPECT_DOUBLE_EQ(ns(b[EventKind::kCommTp]), 20);  // 80..100, before dp
  EXPECT_DOUBLE_EQ(ns(b[EventKind::kData]), 10);
  EXPECT_DOUBLE_EQ(ns(b[EventKind::kIdle]), 10);
  EXPECT_DOUBLE_EQ(ns(b.hidden(Axis::kDp)), 30);  // 20 behind compute, 10 behind tp
  EXPECT_DOUBLE_EQ(ns(b.hidden(Axis::kTp)), 0);
}

TEST(Accounting, TheInnermostEventOfALaneCounts) {
  const std::vector<TraceEvent> events = {event(Lane::kHost, EventKind::kHost, 0, 100),
                                          event(Lane::kHost, EventKind::kData, 20, 50),
                                          event(Lane::kCompute, EventKind::kOptimizer, 40, 60)};
  const StepBreakdown b = account(events, 0, 100);
  EXPECT_DOUBLE_EQ(ns(b[EventKind::kHost]), 60);
  EXPECT_DOUBLE_EQ(ns(b[EventKind::kData]), 20);
  EXPECT_DOUBLE_EQ(ns(b[EventKind::kOptimizer]), 20);
}

TEST(Accounting, EventsAreCutAtTheStep) {
  const std::vector<TraceEvent> events = {
      event(Lane::kCompute, EventKind::kCompute, -50, 10), event(Lane::kDp, EventKind::kCommDp, 90, 500),
      event(Lane::kCompute, EventKind::kRecompute, 600, 700), event(Lane::kCompute, EventKind::kRecompute, 50, 40)};
  const StepBreakdown b = account(events, 0, 100);
  EXPECT_DOUBLE_EQ(ns(b[EventKind::kCompute]), 10);
  EXPECT_DOUBLE_EQ(ns(b[EventKind::kCommDp]), 10);
  EXPECT_DOUBLE_EQ(ns(b[EventKind::kRecompute]), 0);
  EXPECT_DOUBLE_EQ(ns(b[EventKind::kIdle]), 80);
}

// The definition, nanosecond by nanosecond.
StepBreakdown by_definition(const std::vector<TraceEvent>& events, int64_t begin, int64_t end) {
  constexpr std::array<Lane, 6> order = {Lane::kCompute, Lane::kHost, Lane::kCopy, Lane::kTp, Lane::kPp, Lane::kDp};
  StepBreakdown result;
  for (int64_t t = begin; t < end; ++t) {
    const TraceEvent* best = nullptr;
    for (Lane lane : order) {
      for (const TraceEvent& e : events) {
        const bool runs = e.lane == lane && e.t0_ns <= t && t < e.t1_ns;
        if (runs && (best == nullptr || e.t0_ns > best->t0_ns)) best = &e;
      }
      if (best) break;
    }
    const EventKind kind = best ? best->kind : EventKind::kIdle;
    result.seconds[static_cast<size_t>(kind)] += 1;
    constexpr std::array<EventKind, 3> wires = {EventKind::kCommPp, EventKind::kCommDp, EventKind::kCommTp};
    for (size_t axis = 0; axis < 3; ++axis) {
      bool busy = false;
      for (const TraceEvent& e : events) busy |= e.kind == wires[axis] && e.t0_ns <= t && t < e.t1_ns;
      if (busy && kind != wires[axis]) result.hidden_comm_s[axis] += 1;
    }
  }
  return result;
}

TEST(Accounting, RandomEventsSumToTheStepAndFollowTheDefinition) {
  std::mt19937 random(7);
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  for (int round = 0; round < 400; ++round) {
    const int64_t begin = 1000 + below(50), end = begin + below(400);
    std::vector<TraceEvent> events;
    std::array<std::vector<bool>, 6>
        begun;  // which of two events of a lane that begin together counts is left open
    for (auto& lane : begun) lane.assign(2000, false);
    for (int64_t i = below(40); i > 0; --i) {
      const int64_t lane = below(6), t0 = 950 + below(500);
      if (begun[static_cast<size_t>(lane)][static_cast<size_t>(std::max(t0, begin))]) continue;
      begun[static_cast<size_t>(lane)][static_cast<size_t>(std::max(t0, begin))] = true;
      events.push_back(
          event(static_cast<Lane>(lane), static_cast<EventKind>(below(kNumEventKinds)), t0, t0 + below(120) - 5));
    }
    const StepBreakdown b = account(events, begin, end), expected = by_definition(events, begin, end);
    EXPECT_EQ(std::accumulate(b.seconds.begin(), b.seconds.end(), 0.0), b.step_s);
    EXPECT_NEAR(ns(b.step_s), static_cast<double>(end - begin), 1e-6);
    for (int k = 0; k < kNumEventKinds; ++k) {
      const EventKind kind = static_cast<EventKind>(k);
      EXPECT_NEAR(ns(b[kind]), expected[kind], 1e-6) << name(kind) << ", round " << round;
    }
    for (Axis axis : kAxes)
      EXPECT_NEAR(ns(b.hidden(axis)), expected.hidden(axis), 1e-6) << name(axis) << ", round " << round;
  }
}

}  // namespace
}  // namespace trine
