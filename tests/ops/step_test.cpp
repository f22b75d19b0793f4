// What happens around the model: how the batch enters, the norm over buckets, clipping, AdamW over several steps.
#include <cmath>
#include <gmock/gmock.h>
#include <limits>

#include "graph/builder.h"
#include "graph/verifier.h"
#include "ops/batch.h"
#include "ops/elementwise.h"
#include "ops/optimizer.h"
#include "tests/reference/interpreter.h"

namespace trine::reference {
namespace {

StateId scalar(Builder& b, std::string name, DType dtype = DType::kF32, Shape shape = {1}) {
  return b.add_state({.name = std::move(name), .type = {dtype, std::move(shape)}, .role = StateRole::kScalar});
}

TEST(Batch, EntersAndIsCutIntoMicrobatches) {
  Builder b{Mesh{.dp = 2}};
  TensorType tokens{DType::kI32, {6}}, count{DType::kI64, {1}};
  tokens.on(Axis::kDp) = Placement::batch_split();
  count.on(Axis::kDp) = Placement::partial();
  const StateId ids = b.add_state({.name = "ids", .type = tokens}),
                labels = b.add_state({.name = "labels", .type = tokens});
  const StateId lr = scalar(b, "lr"), scale = scalar(b, "scale");
  const StateId valid = b.add_state({.name = "valid", .type = count});
  b.enter(Region::kPrologue);
  b.write(LoadBatch(6, true), {}, {ids, labels});
  b.write(LoadScalars(), {}, {lr, scale});
  b.write(CountValid(), {b.read(labels)}, {valid});
  b.enter(Region::kMicrobatch);
  const ValueId part = b.add(TakeMicrobatch(2), {b.read(ids)});
  verify(b.graph());

  Interpreter interpreter(b.finish());
  interpreter.host() = {.ids = Tensor({12}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}),
                        .labels = Tensor({12}, {0, -100, 2, 3, 4, 5, 6, 7, -100, 9, 10, -1}),
                        .lr = 0.25,
                        .loss_scale = 8};
  interpreter.run_step(3);
  EXPECT_THAT(interpreter.get(part).data, testing::ElementsAre(4, 5, 10, 11))
      << "of both dp ranks, the third microbatch";
  EXPECT_EQ(interpreter.get("valid")(0), 9);
  EXPECT_EQ(interpreter.get("lr")(0), 0.25);
  EXPECT_EQ(interpreter.get("scale")(0), 8);
}

// Two buckets, one parameter living in a range of the first.
class Optimizer : public testing::Test {
 protected:
  Graph build(float max_norm) {
    Builder b{Mesh{}};
    const auto flat = [&](std::string name, int64_t size) {
      return scalar(b, std::move(name), DType::kF32, {size});
    };
    const StateId lr = scalar(b, "lr"), scale = scalar(b, "scale"), loss = scalar(b, "loss");
    const StateId bins = scalar(b, "bins", DType::kI64, {SquaredNorm::kNumBins}),
                  grad_norm = scalar(b, "grad_norm");
    const StateId factor = scalar(b, "factor"), apply = scalar(b, "apply", DType::kI32);
    const StateId adam_step = scalar(b, "adam_step", DType::kI32);
    const StateId grad0 = flat("grad0", 2), grad1 = flat("grad1", 3);
    const StateId master = flat("master", 2), momentum = flat("momentum", 2), variance = flat("variance", 2);
    const StateId weights = flat("weights", 2);
    b.add_state({.name = "parameter",
                 .type = {DType::kF32, {1}},
                 .role = StateRole::kParameter,
                 .storage = weights,
                 .offset = 1});
    b.enter(Region::kEpilogue);
    b.write(SquaredNorm(true), {b.read(grad0)}, {bins});
    b.write(SquaredNorm(false), {b.read(grad1)}, {bins});
    b.write(ClipGradients(max_norm), {b.read(bins), b.read(scale), b.read(loss)},
            {grad_norm, factor, apply, adam_step});
    AdamW adamw;
    adamw.beta1 = 0.5f, adamw.beta2 = 0.75f, adamw.eps = 0.125f, adamw.weight_decay = 0.5f;
    adamw.compute_dtype = DType::kF32;
    b.write(adamw, {b.read(grad0), b.read(lr), b.read(factor), b.read(apply), b.read(adam_step)},
            {master, momentum, variance, weights});
    verify(b.graph());
    return b.finish();
  }
  static void set(Interpreter& i, std::string_view name, std::vector<double> values) {
    const int64_t size = std::ssize(values);
    i.set(name, Tensor({size}, std::move(values)));
  }
};

TEST_F(Optimizer, DoesWhatTheFormulaSays) {
  Interpreter i(build(1.0f));
  set(i, "lr", {0.1}), set(i, "scale", {2}), set(i, "loss", {1});
  set(i, "grad0", {6, 0}), set(i, "grad1", {0, 8, 0}), set(i, "master", {1, -2});
  i.run_step();
  EXPECT_DOUBLE_EQ(i.get("grad_norm")(0), 5) << "sqrt(36 + 64) / scale";
  EXPECT_NEAR(i.get("factor")(0), 1.0 / 5 / 2, 1e-7);
  // g = 6 / 10; bias correction makes m = g and v = g^2 on the first step.
  const double g = 0.6;
  EXPECT_NEAR(i.get("master")(0), 1 - 0.1 * 0.5 * 1 - 0.1 * g / (g + 0.125), 1e-6);
  EXPECT_NEAR(i.get("master")(1), -2 + 0.1 * 0.5 * 2, 1e-12);
  EXPECT_EQ(i.get("parameter")(0), i.get("master")(1)) << "the parameter is a range of the weights";
  i.run_step();
  const double p = 1 - 0.1 * 0.5 - 0.1 * g / (g + 0.125);  // the same gradient again: still m = g, v = g^2
  EXPECT_NEAR(i.get("master")(0), p - 0.1 * 0.5 * p - 0.1 * g / (g + 0.125), 1e-6);
  EXPECT_EQ(i.get("adam_step")(0), 2);
}

TEST_F(Optimizer, DoesNotClipBelowTheLimitOrWithoutOne) {
  for (float max_norm : {0.0f, 100.0f}) {
    Interpreter i(build(max_norm));
    set(i, "scale", {4}), set(i, "grad0", {6, 0}), set(i, "grad1", {0, 8, 0});
    i.run_step();
    EXPECT_DOUBLE_EQ(i.get("factor")(0), 0.25);
  }
}

TEST_F(Optimizer, SkipsANonFiniteStep) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  for (bool bad_gradient : {true, false}) {
    Interpreter i(build(1.0f));
    set(i, "lr", {0.1}), set(i, "scale", {1}), set(i, "master", {1, 2}), set(i, "momentum", {0.5, 0.5});
    set(i, "grad0", {1, bad_gradient ? kInf : 2}), set(i, "loss", {bad_gradient ? 1 : kInf});
    set(i, "grad1", {1, 1, 1});
    i.run_step();
    EXPECT_EQ(i.get("apply")(0), 0);
    EXPECT_EQ(i.get("adam_step")(0), 0);
    EXPECT_THAT(i.get("master").data, testing::ElementsAre(1, 2));
    EXPECT_THAT(i.get("momentum").data, testing::ElementsAre(0.5, 0.5));
  }
}

}  // namespace
}  // namespace trine::reference
