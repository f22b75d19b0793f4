#include "graph/passes/fuse.h"

#include <gmock/gmock.h>

#include "graph/passes/recompute.h"
#include "graph/passes/split_backward.h"
#include "ops/fusions.h"
#include "tests/graph/small_model.h"

namespace trine {
namespace {

Graph fused(Graph graph) {
  Graph result = fuse(std::move(graph), fusions());
  verify(result);
  return result;
}

std::map<std::string, int> count_ops(const Graph& graph) {
  std::map<std::string, int> count;
  for (const Node& node : graph.nodes()) ++count[std::string(node.op->name())];
  return count;
}

TEST(Fuse, EverySumOfTheResidualStreamAndItsGradient) {
  for (int tp : {1, 2}) {
    auto count = count_ops(fused(make_small_model({.layers = 4, .tp = tp})));
    EXPECT_EQ(count["add_rms_norm"], 4);
    EXPECT_EQ(count["rms_norm_grad_add"], 4);
    EXPECT_EQ(count["rms_norm"], 1) << "of the embedding";
    EXPECT_EQ(count["rms_norm_grad"], 1) << "the head's: nothing else reads the last sum";
    EXPECT_EQ(count["add"], 0);
  }
}

TEST(Fuse, ChangesNoValue) {
  for (int tp : {1, 2}) {
    const auto expected = run_small_model(make_small_model({.tp = tp}));
    EXPECT_EQ(run_small_model(fused(make_small_model({.tp = tp}))), expected);
    EXPECT_EQ(run_small_model(fused(split_backward(make_small_model({.tp = tp})))), expected);
    for (const RecomputeOptions& options :
         {RecomputeOptions{RecomputeOptions::Policy::kSelective}, {RecomputeOptions::Policy::kGroup, 2}})
      EXPECT_EQ(run_small_model(fused(recompute(make_small_model({.tp = tp}), options))), expected);
  }
}

TEST(Fuse, ACloneOfTheNormAloneStaysANorm) {
  auto count = count_ops(fused(recompute(make_small_model({.layers = 4}), {RecomputeOptions::Policy::kSelective})));
  EXPECT_EQ(count["add_rms_norm"], 4);
  EXPECT_EQ(count["rms_norm"], 1 + 5);  // forward's first, and backward's
}

// Nodes by hand: x and y are read from states, what is emitted goes to forward.
class FusePair : public testing::Test {
 protected:
  ValueId input(const std::string& name, Shape shape) {
    return b_.read(b_.add_state({.name = name, .type = {DType::kF32, std::move(shape)}}));
  }
  std::vector<std::string> ops_when_fused(const std::vector<Fusion>& these = fusions()) {
    std::vector<std::string> names;
    const Graph graph = fuse(b_.finish(), these);
    verify(graph);
    for (const Node& node : graph.nodes()) names.emplace_back(node.op->name());
    return names;
  }
  Builder b_{Mesh{}};
  const ValueId x_ = input("x", {3, 4}), y_ = input("y", {3, 4}), w_ = input("w", {4}), rstd_ = input("rstd", {3});
};

TEST_F(FusePair, RunsWhereTheSumDidIfOthersReadItBefore) {
  const ValueId sum = b_.add(Add(), {x_, y_}), other = b_.add(SwiGlu(), {sum, y_});
  b_.add(SwiGlu(), {b_.add_many(RmsNorm(1e-5f), {sum, w_})[0], other});
  EXPECT_THAT(ops_when_fused(), testing::ElementsAre("add_rms_norm", "swiglu", "swiglu"));
}

TEST_F(FusePair, RunsWhereTheSecondDidIfItsOperandComesLater) {
  const auto gradients = b_.add_many(RmsNormGrad(), {x_, w_, rstd_, y_});
  b_.add(Add(), {gradients[0], b_.add(SwiGlu(), {x_, y_})});
  EXPECT_THAT(ops_when_fused(), testing::ElementsAre("swiglu", "rms_norm_grad_add"));
}

TEST_F(FusePair, NotIfTheFirstIsNeededBeforeTheSecondCanRun) {
  const auto gradients = b_.add_many(RmsNormGrad(), {x_, w_, rstd_, y_});
  const ValueId scaled = b_.add_many(RmsNorm(1e-5f), {y_, gradients[1]})[0];  // reads the weight's gradient
  b_.add(Add(), {gradients[0], scaled});
  EXPECT_THAT(ops_when_fused(), testing::ElementsAre("rms_norm_grad", "rms_norm", "add"));
}

TEST_F(FusePair, NotIfSomebodyElseReadsWhatWouldBeGone) {
  const auto gradients = b_.add_many(RmsNormGrad(), {x_, w_, rstd_, y_});
  b_.add(SwiGlu(), {b_.add(Add(), {gradients[0], y_}), gradients[0]});
  EXPECT_THAT(ops_when_fused(), testing::ElementsAre("rms_norm_grad", "add", "swiglu"));
}

TEST_F(FusePair, NotAcrossPhases) {
  const ValueId sum = b_.add(Add(), {x_, y_});
  b_.enter(Region::kMicrobatch, Phase::kInputGrad);
  b_.add_many(RmsNorm(1e-5f), {sum, w_});
  EXPECT_THAT(ops_when_fused(), testing::ElementsAre("add", "rms_norm"));
}

TEST_F(FusePair, NotIfTheSecondReadsTheFirstTwice) {
  const ValueId sum = b_.add(Add(), {x_, y_});
  b_.add(SwiGlu(), {sum, sum});
  const auto make = [](const Op&, const Op&) { return std::make_shared<const Add>(); };
  EXPECT_THAT(ops_when_fused({{.first = "add", .second = "swiglu", .make = make}}),
              testing::ElementsAre("add", "swiglu"));
}

TEST_F(FusePair, NotIfWhatWouldBeGoneIsTheGradientOfAValue) {
  const auto gradients = b_.add_many(RmsNormGrad(), {x_, w_, rstd_, y_});
  b_.pair_gradient(x_, gradients[0]);
  b_.add(Add(), {gradients[0], y_});
  EXPECT_THAT(ops_when_fused(), testing::ElementsAre("rms_norm_grad", "add"));
}

TEST_F(FusePair, NotIfAStateThatTheSecondReadsIsWrittenBetween) {
  const StateId total = b_.add_state({.name = "total", .type = {DType::kF32, {3, 4}}});
  const auto gradients = b_.add_many(RmsNormGrad(), {x_, w_, rstd_, y_});
  b_.write(Accumulate(2), {y_}, {total});
  b_.add(Add(), {gradients[0], b_.read(total)});
  EXPECT_THAT(ops_when_fused(), testing::ElementsAre("rms_norm_grad", "accumulate", "add"));
}

}  // namespace
}  // namespace trine
