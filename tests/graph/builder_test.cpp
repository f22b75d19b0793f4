#include "graph/builder.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "graph/autodiff.h"
#include "graph/printer.h"
#include "ops/elementwise.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/swiglu.h"

namespace trine {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;

const TensorType kMatrix{DType::kF32, {6, 4}};

ValueId add_state(Builder& b, std::string name, TensorType type, StateRole role = StateRole::kScalar) {
  return b.read(b.add_state({.name = std::move(name), .type = std::move(type), .role = role}));
}

TensorType on_tp(TensorType type, Placement placement) {
  type.on(Axis::kTp) = placement;
  return type;
}

TEST(Builder, RefusesTypesThatDoNotFit) {
  Builder b{Mesh{}};
  const ValueId x = add_state(b, "x", kMatrix), w = add_state(b, "w", {DType::kF32, {3, 5}});
  const ValueId half = add_state(b, "half", {DType::kBF16, {6, 4}});
  EXPECT_THAT(
      [&] {
        b.add(Linear(), {x, w});
      },
      ThrowsMessage<TypeError>(AllOf(HasSubstr("x f32[6,4] times W^T f32[3,5]"), HasSubstr("--> linear(x, w)"))));
  EXPECT_THAT([&] { b.add(Add(), {x, half}); }, ThrowsMessage<TypeError>(HasSubstr("f32[6,4] + bf16[6,4]")));
  EXPECT_THAT([&] { b.add(Add(), {x}); }, ThrowsMessage<TypeError>(HasSubstr("add takes 2 operands, got 1")));
  EXPECT_THAT([&] { b.emit(std::make_shared<Accumulate>(2), {x}); },
              ThrowsMessage<TypeError>(HasSubstr("accumulate writes 1 states, got 0")));
}

TEST(Builder, RefusesPlacementsThatDoNotFit) {
  Builder b{Mesh{.tp = 2}};
  const ValueId x = add_state(b, "x", kMatrix),
                w = add_state(b, "w", on_tp({DType::kF32, {8, 4}}, Placement::split(0)));
  EXPECT_THAT(
      [&] {
        b.add(Linear(), {x, w});
      },
      ThrowsMessage<TypeError>(AllOf(HasSubstr("placement on tp: an invariant input beside one that is not"),
                                     HasSubstr("index map x[n,k] w0[m,k] -> y0[n,m]"))));
}

TEST(Builder, RefusesToWriteAStateOfAnotherTypeOrPlacement) {
  Builder b{Mesh{.tp = 2}};
  const ValueId partial = add_state(b, "partial", on_tp({DType::kF32, {4}}, Placement::partial()));
  const StateId whole = b.add_state({.name = "whole", .type = {DType::kF32, {4}}});
  EXPECT_THAT([&] { b.write(Accumulate(1), {partial}, {whole}); },
              ThrowsMessage<TypeError>(HasSubstr("it writes f32[4] @tp=P into state whole, which is f32[4]")));
}

TEST(Builder, RefusesASecondStateOfAName) {
  Builder b{Mesh{}};
  add_state(b, "x", kMatrix);
  EXPECT_THROW(add_state(b, "x", kMatrix), CheckError);
}

TEST(Builder, ShowsTheNeighbourhoodWithAnArrow) {
  Builder b{Mesh{}};
  ValueId x = add_state(b, "x", kMatrix);
  const ValueId other = add_state(b, "other", {DType::kF32, {2, 2}});
  for (int i = 0; i < 20; ++i) x = b.add(Add(), {x, x});
  try {
    b.add(Add(), {x, other});
    FAIL();
  } catch (const TypeError& error) {
    const std::string text = error.what();
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 7)
        << "the message, five lines before the culprit, and itself";
    EXPECT_THAT(text, ContainsRegex("\n    %20 = add\\(%19, %19\\) .*: f32\\[6,4\\]\n"));
    EXPECT_THAT(text, ContainsRegex("\n--> add\\(%21, other\\)\n$"));
  }
  const std::string middle = print_around(b.graph(), 10);
  EXPECT_EQ(std::count(middle.begin(), middle.end(), '\n'), 10);
  EXPECT_THAT(middle, ContainsRegex("\n--> %12 = add"));
}

TEST(Printer, ShowsStatesRegionsScopesPlacementsAndAttributes) {
  Builder b{Mesh{.tp = 2}};
  const ValueId x = add_state(b, "x", on_tp(kMatrix, Placement::split(0)));
  const StateId bucket =
      b.add_state({.name = "bucket", .type = on_tp({DType::kF32, {4096}}, Placement::replicated())});
  const ValueId w = b.read(b.add_state({.name = "norm.weight",
                                        .type = on_tp({DType::kF32, {4}}, Placement::replicated()),
                                        .role = StateRole::kParameter,
                                        .storage = bucket,
                                        .offset = 1024}));
  b.set_scope("layers.3.attention");
  const ValueId y = b.add_many(RmsNorm(1e-5f), {x, w}).at(0);
  b.enter(Region::kMicrobatch, Phase::kInputGrad);
  b.add(Add(), {y, y});
  EXPECT_EQ(
      print(b.graph()),
      "states\n"
      "  x                                                        : f32[6,4] @tp=S0              scalar\n"
      "  bucket                                                   : f32[4096] @tp=R              scalar\n"
      "  norm.weight                                              : f32[4] @tp=R                 parameter   in "
      "bucket at 1,024\n"
      "microbatch, phase F   (pp=1 dp=1 tp=2)\n"
      "  layers.3.attention\n"
      "    %3, %4 = rms_norm(x, norm.weight) {eps=1e-05}                            : "
      "f32[6,4] @tp=S0, f32[6] @tp=S0\n"
      "microbatch, phase I   (pp=1 dp=1 tp=2)\n"
      "  layers.3.attention\n"
      "    %5 = add(%3, %3)                                                         : f32[6,4] @tp=S0\n");
}

// y = swiglu(x, x) + x: three contributions to dx, two adds; the parameter's gradient leaves through accumulate.
TEST(Differentiate, AddsTheGradientsOfAValueThatIsUsedSeveralTimes) {
  Builder b{Mesh{.tp = 2}};
  const ValueId p = add_state(b, "p", on_tp(kMatrix, Placement::replicated()), StateRole::kParameter);
  const ValueId unused = add_state(b, "unused", kMatrix, StateRole::kParameter);
  const ValueId seed = add_state(b, "seed", on_tp(kMatrix, Placement::partial()));
  const ValueId x = b.add(Add(), {p, p});
  const ValueId y = b.add(Add(), {x, x});
  const Graph graph = differentiate(b.finish(), y,
                                    {.add = std::make_shared<Add>(),
                                     .accumulate = std::make_shared<Accumulate>(2),
                                     .seed = [&](Builder&) { return seed; }});
  std::vector<std::string> ops;
  for (const Node& node : graph.nodes()) {
    ops.push_back(std::string(node.op->name()));
    EXPECT_EQ(node.phase, ops.size() <= 2 ? Phase::kForward : Phase::kInputGrad);
  }
  EXPECT_THAT(ops, testing::ElementsAre("add", "add", "add", "accumulate", "accumulate"));
  const State& gradient = graph[graph.companion(graph.state_named("p"), StateRole::kGradient)];
  EXPECT_EQ(gradient.name, "grad.p");
  EXPECT_EQ(gradient.type.dtype, DType::kF32);
  EXPECT_EQ(gradient.type.on(Axis::kTp), Placement::partial()) << "dual to its parameter";
  EXPECT_TRUE(unused.valid());
  for (const Node& node : graph.nodes())
    for (StateId written : node.writes) EXPECT_NE(graph[written].name, "grad.unused");
  EXPECT_EQ(graph.gradients().size(), 2u);
}

}  // namespace
}  // namespace trine
