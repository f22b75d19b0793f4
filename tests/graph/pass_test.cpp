#include "graph/pass.h"

#include <gmock/gmock.h>
#include <sstream>

#include "base/error.h"
#include "graph/builder.h"
#include "ops/elementwise.h"

namespace trine {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;

Graph one_node() {
  Builder b{Mesh{}};
  const ValueId x = b.read(b.add_state({.name = "x", .type = {DType::kF32, {2, 3}}}));
  b.add(Add(), {x, x});
  return b.finish();
}

// Repeats the last node.
Graph grow(Graph graph) {
  Builder b(std::move(graph));
  const Node last = b.graph().nodes().back();
  b.emit(last.op, last.inputs);
  return b.finish();
}

Graph break_types(Graph graph) {
  Builder b(std::move(graph));
  b.value(b.nodes().back().outputs[0]).type.shape = {9};
  return b.finish();
}

const std::vector<Pass> kPasses = {{"precision", grow, false}, {"recompute", grow, true}};

TEST(PassRunner, RunsAndTimesInOrder) {
  PassRunner runner({});
  EXPECT_EQ(runner.run(one_node(), kPasses).nodes().size(), 3u);
  ASSERT_EQ(runner.timings().size(), 2u);
  EXPECT_EQ(runner.timings()[0].name, "precision");
  EXPECT_EQ(runner.timings()[1].nodes_before, 2u);
  EXPECT_EQ(runner.timings()[1].nodes_after, 3u);
  EXPECT_GE(runner.timings()[1].seconds, 0);
}

TEST(PassRunner, SkipsWhatIsDisabled) {
  PassRunner runner({.disabled = {"recompute"}, .dumped = {}});
  EXPECT_EQ(runner.run(one_node(), kPasses).nodes().size(), 2u);
  EXPECT_FALSE(runner.timings()[0].skipped);
  EXPECT_TRUE(runner.timings()[1].skipped);
}

TEST(PassRunner, DumpsBeforeAndAfterOnlyWhatIsAsked) {
  std::ostringstream dump;
  PassRunner({.disabled = {}, .dumped = {"recompute"}, .dump = &dump}).run(one_node(), kPasses);
  const std::string text = dump.str(), after = text.substr(text.find("=== after recompute ==="));
  EXPECT_THAT(text, AllOf(HasSubstr("=== before recompute ==="), Not(HasSubstr("precision"))));
  EXPECT_THAT(text.substr(0, text.size() - after.size()), AllOf(HasSubstr("%2 = add(x, x)"), Not(HasSubstr("%3"))));
  EXPECT_THAT(after, HasSubstr("%3 = add(x, x)"));
}

TEST(PassRunner, NamesTheNearestPassAndReportsAllProblems) {
  const auto run = [] {
    PassRunner({.disabled = {"recompote", "precision"}, .dumped = {"precison"}}).run(one_node(), kPasses);
  };
  EXPECT_THAT(run, ThrowsMessage<ConfigError>(
                       AllOf(HasSubstr("[--disable-pass] no such pass: recompote (did you mean recompute?)"),
                             HasSubstr("[--disable-pass] no such pass: precision"),  // it may not be switched off
                             HasSubstr("[--dump-pass] no such pass: precison (did you mean precision?)"))));
}

TEST(PassRunner, NamesThePassThatBreaksTheGraph) {
  PassRunner runner({});
  EXPECT_THAT(
      [&] {
        runner.run(one_node(), {{"precision", grow}, {"clumsy", break_types}, {"after", grow}});
      },
      ThrowsMessage<TypeError>(AllOf(HasSubstr("after pass clumsy"), HasSubstr("f32[9]"), HasSubstr("-->"))));
}

}  // namespace
}  // namespace trine
