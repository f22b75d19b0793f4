#include "graph/passes/split_backward.h"

#include <gmock/gmock.h>

#include "graph/passes/recompute.h"
#include "tests/graph/small_model.h"

namespace trine {
namespace {

using testing::UnorderedElementsAre;

Graph split(Graph graph) {
  graph = split_backward(std::move(graph));
  verify(graph);
  return graph;
}

std::set<std::string> ops_in(const Graph& graph, Phase phase) {
  std::set<std::string> names;
  for (const Node& node : graph.nodes())
    if (node.phase == phase) names.insert(std::string(node.op->name()));
  return names;
}

std::vector<std::string> in_order(const Graph& graph, Phase phase) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes())
    if (node.phase == phase) names.push_back(fmt::format("{} {}", node.scope, node.op->name()));
  return names;
}

// Walking from a node to those that read it, is there one that sends?
bool reaches_exit(const Graph& graph, size_t from) {
  std::set<ValueId> reached(graph.nodes()[from].outputs.begin(), graph.nodes()[from].outputs.end());
  for (size_t n = from; n < graph.nodes().size(); ++n) {
    const Node& node = graph.nodes()[n];
    const bool reads = n == from || std::any_of(node.inputs.begin(), node.inputs.end(),
                                                [&](ValueId input) { return reached.contains(input); });
    if (!reads) continue;
    if (node.op->name() == "send_grad") return true;
    reached.insert(node.outputs.begin(), node.outputs.end());
  }
  return false;
}

TEST(SplitBackward, IIsWhatTheStageBeforeWaitsFor) {
  for (const SmallModel model : {SmallModel{.first = false}, SmallModel{.first = false, .last = false},
                                 SmallModel{.tp = 2, .first = false, .last = false}}) {
    const Graph graph = split(make_small_model(model));
    for (size_t n = 0; n < graph.nodes().size(); ++n) {
      const Node& node = graph.nodes()[n];
      if (node.phase == Phase::kForward) continue;
      EXPECT_EQ(node.phase == Phase::kInputGrad, reaches_exit(graph, n)) << node.scope << " " << node.op->name();
    }
  }
}

TEST(SplitBackward, WHoldsTheWeightGradients) {
  const Graph graph = split(make_small_model({.first = false}));
  EXPECT_THAT(ops_in(graph, Phase::kWeightGrad), UnorderedElementsAre("linear_dw", "accumulate"));
  EXPECT_THAT(ops_in(graph, Phase::kInputGrad),
              UnorderedElementsAre("loss_seed", "cross_entropy_grad", "vocab_stats_grad", "linear_dx",
                                   "rms_norm_grad", "swiglu_grad", "add", "send_grad"));
}

// The norm's gradient gives dx and dweight at once: it runs in I, and what accumulates dweight in W.
TEST(SplitBackward, ANodeThatServesBothIsInI) {
  const Graph graph = split(make_small_model({.first = false}));
  int norms = 0;
  for (const Node& node : graph.nodes()) {
    if (node.op->name() != "accumulate" || node.phase == Phase::kForward) continue;
    const NodeId producer = graph[node.inputs[0]].producer;
    EXPECT_EQ(node.phase, Phase::kWeightGrad);
    EXPECT_EQ(graph[producer].phase, Phase::kInputGrad);
    EXPECT_EQ(graph[producer].op->name(), "rms_norm_grad");
    ++norms;
  }
  EXPECT_EQ(norms, 5);
}

TEST(SplitBackward, TheFirstStagesIIsThatOfAMiddleStage) {
  for (int tp : {1, 2}) {
    const Graph first = split(make_small_model({.tp = tp, .last = false}));
    const Graph middle = split(make_small_model({.tp = tp, .first = false, .last = false}));
    std::vector<std::string> expected = in_order(middle, Phase::kInputGrad);
    EXPECT_EQ(expected.back(), "embedding send_grad");
    expected.pop_back();
    EXPECT_EQ(in_order(first, Phase::kInputGrad), expected);
    EXPECT_EQ(in_order(first, Phase::kWeightGrad).back(), "embedding embedding_grad");
  }
}

TEST(SplitBackward, KeepsTheOrderWithinAPhase) {
  const Graph before = make_small_model({.tp = 2}), after = split(before);
  EXPECT_EQ(in_order(after, Phase::kForward), in_order(before, Phase::kForward));
  const std::vector<std::string> w = in_order(after, Phase::kWeightGrad);
  std::vector<std::string> expected;  // a subsequence of backward as it was
  for (const std::string& name : in_order(before, Phase::kInputGrad))
    if (expected.size() < w.size() && name == w[expected.size()]) expected.push_back(name);
  EXPECT_EQ(expected, w);
}

// What is rebuilt runs in I, but for gathers that only weight gradients read.
TEST(SplitBackward, RecomputedNodes) {
  const Graph none = split(recompute(make_small_model({.tp = 2}), {}));
  for (const Node& node : none.nodes())
    EXPECT_TRUE(!node.recompute || node.phase == Phase::kWeightGrad) << node.op->name();
  EXPECT_TRUE(ops_in(none, Phase::kWeightGrad).contains("all_gather"));
  const Graph selective = split(recompute(make_small_model({}), {RecomputeOptions::Policy::kSelective}));
  EXPECT_THAT(ops_in(selective, Phase::kWeightGrad),
              UnorderedElementsAre("linear_dw", "accumulate", "embedding_grad"));
}

TEST(SplitBackward, ChangesNoBit) {
  for (int tp : {1, 2})
    for (const RecomputeOptions options :
         {RecomputeOptions{}, {RecomputeOptions::Policy::kSelective}, {RecomputeOptions::Policy::kGroup, 2}}) {
      const Graph graph = make_small_model({.tp = tp});
      EXPECT_EQ(run_small_model(split(recompute(graph, options))), run_small_model(graph));
    }
}

TEST(SplitBackward, LeavesForwardAlone) {
  Builder b{Mesh{}};
  const ValueId x = b.read(b.add_state({.name = "x", .type = {DType::kF32, {2, 3}}}));
  b.add(Add(), {x, x});
  EXPECT_EQ(split(b.finish()).nodes().at(0).phase, Phase::kForward);
}

}  // namespace
}  // namespace trine
