// Each rule of the verifier, broken once.
#include "graph/verifier.h"

#include <gmock/gmock.h>

#include "graph/builder.h"
#include "ops/collective.h"
#include "ops/elementwise.h"
#include "ops/optimizer.h"
#include "ops/rms_norm.h"

namespace trine {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr auto I = Placement::invariant(), R = Placement::replicated(), P = Placement::partial();
constexpr auto S0 = Placement::split(0);

TensorType on_tp(Placement placement, Shape shape = {6, 4}) {
  TensorType type{DType::kF32, std::move(shape)};
  type.on(Axis::kTp) = placement;
  return type;
}

class Verifier : public testing::Test {
 protected:
  ValueId state(std::string name, TensorType type) {
    return b_.read(b_.add_state({.name = std::move(name), .type = std::move(type)}));
  }
  ValueId add(ValueId x, ValueId y) { return b_.add(Add(), {x, y}); }
  void expect_error(const std::string& text) {
    EXPECT_THAT([&] { verify(b_.graph()); }, ThrowsMessage<TypeError>(AllOf(HasSubstr(text), HasSubstr("\n--> "))));
  }
  Builder b_{Mesh{.tp = 2}};
};

TEST_F(Verifier, AcceptsWhatTheBuilderBuilt) {
  const ValueId x = state("x", on_tp(R));
  b_.pair_gradient(add(x, x), b_.add(Collective(Axis::kTp, {S0, P}), {state("dy", on_tp(S0))}));
  EXPECT_NO_THROW(verify(b_.graph()));
}

TEST_F(Verifier, FindsAUseBeforeItsDefinition) {
  const ValueId x = state("x", on_tp(R)), y = add(x, x);
  add(y, y);
  std::swap(b_.nodes()[0], b_.nodes()[1]);
  expect_error("is used before it is defined");
}

// A pass that moves a node must move what its outputs say of it, or the check above looks at the wrong place.
TEST_F(Verifier, FindsAValueThatNamesAnotherProducer) {
  const ValueId x = state("x", on_tp(R)), y = add(x, x);
  add(x, x);
  add(x, x);
  add(y, y);
  auto& nodes = b_.nodes();
  std::rotate(nodes.begin(), nodes.begin() + 1, nodes.end());  // y's node is now the last, behind its use
  expect_error("names another node as its producer");
}

TEST_F(Verifier, FindsAMissingOperand) {
  const ValueId x = state("x", on_tp(R));
  add(x, x);
  b_.nodes()[0].inputs[1] = {};
  expect_error("an operand is missing");
}

TEST_F(Verifier, FindsAWrongTypeOrPlacement) {
  const ValueId x = state("x", on_tp(R)), y = add(x, x);
  b_.value(y).type.shape = {6, 5};
  expect_error("operand 0 of the result is f32[6,5] @tp=R, the op gives f32[6,4] @tp=R");
  b_.value(y).type = on_tp(I);
  expect_error("operand 0 of the result is f32[6,4], the op gives f32[6,4] @tp=R");
}

TEST_F(Verifier, FindsPlacementsThatDoNotFitTheOp) {
  const ValueId x = state("x", on_tp(R)), y = state("y", on_tp(R));
  add(x, y);
  b_.value(y).type = on_tp(I);
  expect_error("it needs an enter first");
}

TEST_F(Verifier, FindsAWrittenStateOfAnotherType) {
  const StateId sum = b_.add_state({.name = "sum", .type = on_tp(P, {4})});
  b_.write(Accumulate(1), {state("x", on_tp(P, {4}))}, {sum});
  b_.value(b_.read(sum)).type = on_tp(I, {4});
  b_.state(sum).type = on_tp(I, {4});
  EXPECT_THROW(verify(b_.graph()), TypeError);
}

TEST_F(Verifier, FindsAGradientThatIsNotDual) {
  const ValueId x = state("x", on_tp(R)), y = add(x, x), z = add(y, y);
  b_.pair_gradient(y, z);  // both R: the sum over ranks is missing
  expect_error("a gradient must have placement P on tp (a collective is missing)");
}

TEST_F(Verifier, FindsAGradientOfAnotherShape) {
  const ValueId x = state("x", on_tp(I)), y = add(x, x), w = state("w", on_tp(I, {6, 3}));
  b_.pair_gradient(y, add(w, w));
  expect_error("a gradient has another shape");
}

// The all-reduce that everyone forgets: under sequence parallelism each rank's norm weight
// gradient is of its own tokens.
TEST_F(Verifier, FindsTheNormWeightGradientThatIsNotReduced) {
  const ValueId x = state("x", on_tp(S0)), dy = state("dy", on_tp(S0)), weight = state("weight", on_tp(R, {4}));
  const auto normed = b_.add_many(RmsNorm(1e-5f), {x, weight});
  const ValueId dweight = b_.add_many(RmsNormGrad(), {x, weight, normed[1], dy}).at(1);
  EXPECT_EQ(b_.type(dweight).on(Axis::kTp), P);
  const StateId forgotten = b_.add_state({.name = "grad.weight", .type = on_tp(I, {4})});
  EXPECT_THAT(
      [&] { b_.write(Accumulate(1), {dweight}, {forgotten}); },
      ThrowsMessage<TypeError>(HasSubstr("it writes f32[4] @tp=P into state grad.weight, which is f32[4]")));
}
TEST_F(Verifier, FindsTheOptimizerReadingAPartialGradient) {
  const ValueId partial = state("grad.weight", on_tp(P, {4}));
  const StateId bins = b_.add_state({.name = "bins", .type = {DType::kI64, {SquaredNorm::kNumBins}}});
  EXPECT_THAT([&] { b_.write(SquaredNorm(true), {partial}, {bins}); },
              ThrowsMessage<TypeError>(HasSubstr("the norm of a gradient that is not reduced yet")));
}

TEST_F(Verifier, FindsAnOverwrittenValueThatIsReadLater) {
  const ValueId x = state("x", on_tp(R)), y = add(x, x), z = add(y, x);
  b_.nodes()[1].in_place = {{0, 0}};  // z over y
  EXPECT_NO_THROW(verify(b_.graph()));
  add(z, y);
  expect_error("is overwritten here but read later");
}

TEST_F(Verifier, FindsAnOverwriteThatTheOpDoesNotOffer) {
  const ValueId x = state("x", on_tp(R)), y = add(x, x);
  b_.add(Cast(DType::kBF16), {y});
  b_.nodes()[1].in_place = {{0, 0}};
  expect_error("cast does not write output 0 over input 0");
}

TEST_F(Verifier, FindsAnOverwrittenState) {
  const ValueId x = state("x", on_tp(R));
  add(x, x);
  b_.nodes()[0].in_place = {{0, 0}};
  expect_error("an output may not overwrite state x");
}

TEST_F(Verifier, FindsAValueThatCrossesRegions) {
  const ValueId x = state("x", on_tp(R)), y = add(x, x);
  b_.enter(Region::kEpilogue);
  add(y, y);
  expect_error("is a value of the microbatch; only states cross regions");
}

TEST_F(Verifier, FindsRegionsAndPhasesThatRunBackwards) {
  const ValueId x = state("x", on_tp(R));
  b_.enter(Region::kMicrobatch, Phase::kInputGrad);
  add(x, x);
  b_.enter(Region::kMicrobatch, Phase::kForward);
  add(x, x);
  expect_error("phase F after phase I");
  b_.nodes().pop_back();
  b_.nodes()[0].region = Region::kEpilogue;
  b_.enter(Region::kPrologue);
  add(x, x);
  expect_error("prologue after epilogue");
}

TEST_F(Verifier, ShowsTenLinesAroundTheCulprit) {
  ValueId x = state("x", on_tp(R));
  for (int i = 0; i < 20; ++i) x = add(x, x);
  b_.nodes()[9].inputs[0] = x;  // the last
  try {
    verify(b_.graph());
    FAIL();
  } catch (const TypeError& error) {
    const std::string text = error.what();
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 11);
    EXPECT_THAT(text, testing::ContainsRegex("\n--> %10 = add\\(%20, %9\\)"));
  }
}

}  // namespace
}  // namespace trine
