#include "plan/happens_before.h"

#include <gtest/gtest.h>

#include "graph/builder.h"
#include "ops/elementwise.h"

namespace trine {
namespace {

// compute: 0 1 3     tp: 2 (waits for 0), 4     3 waits for 2
class HappensBeforeTest : public testing::Test {
 protected:
  HappensBeforeTest() {
    Builder b(Mesh{});
    const StateId state = b.add_state({.name = "x", .type = {DType::kF32, {4, 4}}});
    const auto add = [&](Lane lane, std::vector<NodeId> waits) {
      b.add(Cast(DType::kF32), {b.read(state)});
      b.nodes().back().lane = lane;
      b.nodes().back().waits = std::move(waits);
    };
    add(Lane::kCompute, {});
    add(Lane::kCompute, {});
    add(Lane::kTp, {NodeId{0}});
    add(Lane::kCompute, {NodeId{2}});
    add(Lane::kTp, {});
    graph_ = b.finish();
  }
  bool before(int a, int b) const { return HappensBefore(graph_).before(NodeId{a}, NodeId{b}); }
  Graph graph_;
};

TEST_F(HappensBeforeTest, LanesAreOrderedOnlyByWaits) {
  EXPECT_TRUE(before(0, 1));
  EXPECT_TRUE(before(0, 2)) << "an explicit wait";
  EXPECT_FALSE(before(1, 2)) << "written before, but nothing orders the lanes";
  EXPECT_TRUE(before(2, 3));
  EXPECT_TRUE(before(0, 4)) << "through the lane's own order";
  EXPECT_FALSE(before(3, 4));
  EXPECT_FALSE(before(4, 3));
  EXPECT_FALSE(before(1, 1));
}

TEST_F(HappensBeforeTest, BuffersShareOnlyWhenAllAccessesAreOrdered) {
  const HappensBefore order(graph_);
  const std::vector<NodeId> early = {NodeId{0}}, both = {NodeId{0}, NodeId{1}}, tp = {NodeId{2}},
                            late = {NodeId{3}};
  EXPECT_TRUE(order.all_before(early, tp));
  EXPECT_FALSE(order.all_before(both, tp));
  EXPECT_TRUE(order.all_before(both, late));
  EXPECT_FALSE(order.all_before(tp, early));
}

}  // namespace
}  // namespace trine
