#include "trace/classify.h"

#include <gmock/gmock.h>

namespace trine {
namespace {

using ::testing::ElementsAre;

TraceEvent event(Lane lane, int64_t t0, int64_t t1, int64_t bytes) {
  return {.t0_ns = t0, .t1_ns = t1, .bytes = bytes, .step = 1, .node = 7, .sequence = 3, .lane = lane};
}

TraceEvent as(TraceEvent of, EventKind kind, int64_t t0, int64_t t1, int64_t bytes) {
  of.kind = kind, of.t0_ns = t0, of.t1_ns = t1, of.bytes = bytes;
  return of;
}

std::vector<TraceEvent> collective(const TraceEvent& event, int64_t last_ready) {
  std::vector<TraceEvent> parts;
  classify_collective(event, last_ready, parts);
  return parts;
}

std::vector<TraceEvent> reception(const TraceEvent& waited, int64_t sent, int64_t arrived) {
  std::vector<TraceEvent> parts;
  classify_reception(waited, sent, arrived, parts);
  return parts;
}

TEST(Classify, ACollectiveIsAWaitUntilTheLastRankIsReady) {
  const TraceEvent tp = event(Lane::kTp, 100, 200, 64);
  EXPECT_THAT(collective(tp, 130),
              ElementsAre(as(tp, EventKind::kWait, 100, 130, 0), as(tp, EventKind::kCommTp, 130, 200, 64)));
  EXPECT_THAT(collective(tp, 90), ElementsAre(as(tp, EventKind::kCommTp, 100, 200, 64)));
  // Clocks that are a little apart put "ready" behind the end: all of it was a wait, and the bytes are not lost.
  EXPECT_THAT(collective(tp, 220),
              ElementsAre(as(tp, EventKind::kWait, 100, 200, 0), as(tp, EventKind::kCommTp, 200, 200, 64)));
  const TraceEvent dp = event(Lane::kDp, 0, 10, 8), pp = event(Lane::kPp, 0, 10, 8);
  EXPECT_EQ(collective(dp, 5)[1].kind, EventKind::kCommDp);
  EXPECT_THAT(collective(pp, 5),
              ElementsAre(as(pp, EventKind::kBubble, 0, 5, 0), as(pp, EventKind::kCommPp, 5, 10, 8)));
}

TEST(Classify, AReceptionIsBubbleUntilItIsSent) {
  const TraceEvent waited = event(Lane::kPp, 100, 200, 64);
  EXPECT_THAT(reception(waited, 150, 195), ElementsAre(as(waited, EventKind::kBubble, 100, 150, 0),
                                                       as(waited, EventKind::kCommPp, 150, 200, 64)));
  EXPECT_THAT(reception(waited, 50, 195), ElementsAre(as(waited, EventKind::kCommPp, 100, 200, 64)));
}

TEST(Classify, WhatArrivedBeforeWasOnTheWireMeanwhileAndItsBytesCountOnce) {
  const TraceEvent waited = event(Lane::kPp, 100, 100, 64);
  EXPECT_THAT(reception(waited, 40, 90), ElementsAre(as(waited, EventKind::kCommPp, 40, 90, 64)));
  const TraceEvent woke = event(Lane::kPp, 100, 103, 64);
  EXPECT_THAT(reception(woke, 40, 90),
              ElementsAre(as(woke, EventKind::kCommPp, 100, 103, 0), as(woke, EventKind::kCommPp, 40, 90, 64)));
}

}  // namespace
}  // namespace trine
