// Every op's vjp, run as graph nodes in f64, against central differences of its forward in random directions.
#include <cmath>
#include <gmock/gmock.h>
#include <set>

#include "graph/autodiff.h"
#include "graph/verifier.h"
#include "ops/cross_entropy.h"
#include "ops/elementwise.h"
#include "tests/ops/op_cases.h"
#include "tests/reference/interpreter.h"

namespace trine::reference {
namespace {

constexpr double kStep = 1e-5, kTolerance = 1e-6;

StateId add_state(Builder& b, std::string name, TensorType type, StateRole role) {
  return b.add_state({.name = std::move(name), .type = std::move(type), .role = role});
}

// sum over outputs of <dy, y>
double weighted_outputs(const OpCase& c, const std::vector<Tensor>& inputs, const std::vector<Tensor>& dy) {
  const std::vector<Tensor> y = run_op(*c.op, input_types(c), inputs);
  double sum = 0;
  for (size_t i = 0; i < dy.size(); ++i) sum += dot(dy[i], y[i]);
  return sum;
}

// Gradients of the inputs by the op's vjp nodes; empty where the op gives none.
std::vector<Tensor> vjp_gradients(const OpCase& c, const std::vector<Tensor>& inputs,
                                  const std::vector<Tensor>& dy) {
  Builder b{Mesh{}};
  std::vector<ValueId> values;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorType& type = c.inputs[i].type;
    const StateId state = add_state(b, fmt::format("x{}", i), type, StateRole::kParameter);
    values.push_back(b.read(state));
    b.add_state({.name = fmt::format("grad.x{}", i),
                 .type = {DType::kF32, type.shape},
                 .role = StateRole::kGradient,
                 .parameter = state});
  }
  b.emit(c.op, values);
  const Node node = b.graph().nodes().at(0);
  std::vector<ValueId> dy_values(node.outputs.size());
  for (size_t i = 0; i < dy.size(); ++i)
    dy_values[i] = b.read(add_state(b, fmt::format("dy{}", i), b.type(node.outputs[i]), StateRole::kScalar));
  b.enter(Region::kMicrobatch, Phase::kInputGrad);
  const std::vector<ValueId> dx = c.op->vjp(b, node, dy_values);
  EXPECT_EQ(dx.size(), inputs.size());

  std::set<std::string> written;
  for (const Node& each : b.graph().nodes())
    for (StateId state : each.writes) written.insert(b.graph()[state].name);
  Interpreter interpreter(b.finish());
  for (size_t i = 0; i < inputs.size(); ++i) interpreter.set(fmt::format("x{}", i), inputs[i]);
  for (size_t i = 0; i < dy.size(); ++i) interpreter.set(fmt::format("dy{}", i), dy[i]);
  interpreter.run_step();
  std::vector<Tensor> gradients(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string accumulator = fmt::format("grad.x{}", i);
    if (dx[i].valid()) gradients[i] = interpreter.get(dx[i]);
    if (written.contains(accumulator)) gradients[i] = interpreter.get(accumulator);
  }
  return gradients;
}

class Gradient : public testing::TestWithParam<OpCase> {};

TEST_P(Gradient, IsTheDerivativeInRandomDirections) {
  const OpCase& c = GetParam();
  std::vector<Tensor> inputs = make_inputs(c);
  std::vector<Tensor> dy;
  const std::vector<Tensor> y = run_op(*c.op, input_types(c), inputs);
  for (int i = 0; i < c.num_dy; ++i)
    dy.push_back(random_normal(y[static_cast<size_t>(i)].shape, 77 + static_cast<uint64_t>(i)));
  const std::vector<Tensor> gradients = vjp_gradients(c, inputs, dy);

  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!is_float(c.inputs[i].type.dtype)) continue;
    ASSERT_EQ(gradients[i].shape, inputs[i].shape) << "input " << i;
    for (uint64_t direction_seed : {5, 6}) {
      const Tensor direction = random_normal(inputs[i].shape, direction_seed);
      const Tensor center = inputs[i];
      inputs[i] = center + kStep * direction;
      const double above = weighted_outputs(c, inputs, dy);
      inputs[i] = center + -kStep * direction;
      const double below = weighted_outputs(c, inputs, dy);
      inputs[i] = center;
      EXPECT_NEAR(dot(gradients[i], direction), (above - below) / (2 * kStep),
                  kTolerance * (norm(gradients[i]) * norm(direction) + 1e-4))
          << "input " << i;
    }
  }
}

std::vector<OpCase> differentiable_cases() {
  std::vector<OpCase> cases;
  for (OpCase& c : op_cases(DType::kF32))
    if (c.num_dy > 0) cases.push_back(std::move(c));
  return cases;
}

std::string test_name(const testing::TestParamInfo<OpCase>& info) {
  std::string text = info.param.name;
  for (char& c : text)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return text;
}

INSTANTIATE_TEST_SUITE_P(Ops, Gradient, testing::ValuesIn(differentiable_cases()), test_name);

// The two halves of the loss treat the max as a constant, so only together are they a derivative.
TEST(LossGradient, IsTheDerivativeOfBothHalves) {
  for (auto [tokens, vocab] : {std::pair<int64_t, int64_t>{1, 1}, {1, 6}, {11, 7}}) {
    Builder b{Mesh{}};
    const StateId logits = add_state(b, "logits", {DType::kF32, {tokens, vocab}}, StateRole::kParameter);
    const StateId labels = add_state(b, "labels", {DType::kI32, {tokens}}, StateRole::kBatch);
    const StateId seed = add_state(b, "seed", {DType::kF32, {1}}, StateRole::kScalar);
    const ValueId stats = b.add(VocabStats(), {b.read(logits), b.read(labels)});
    const ValueId loss = b.add(CrossEntropy(), {stats, b.read(labels)});
    Graph graph = differentiate(b.finish(), loss,
                                {.add = std::make_shared<Add>(),
                                 .accumulate = std::make_shared<Accumulate>(2),
                                 .seed = [&](Builder& builder) { return builder.read(seed); }});
    verify(graph);
    Interpreter interpreter(graph);
    Tensor targets = random_integers({tokens}, 3, 0, vocab);
    for (int64_t n = 2; n < tokens; n += 3) targets(n) = -100;
    const Tensor x = random_normal({tokens, vocab}, 4, 2), direction = random_normal({tokens, vocab}, 5);
    interpreter.set("labels", targets);
    interpreter.set("seed", Tensor({1}, {0.7}));
    const auto loss_at = [&](const Tensor& at) {
      interpreter.set("logits", at);
      interpreter.run_step();
      return interpreter.get(loss)(0);
    };
    const double slope = (loss_at(x + kStep * direction) - loss_at(x + -kStep * direction)) / (2 * kStep);
    loss_at(x);
    const Tensor gradient = interpreter.get("grad.logits");
    EXPECT_NEAR(dot(gradient, direction), 0.7 * slope, kTolerance);
    for (int64_t n = 0; n < tokens; ++n) {
      double sum = 0;
      for (int64_t v = 0; v < vocab; ++v) {
        sum += gradient(n, v);
        EXPECT_TRUE(targets(n) >= 0 || gradient(n, v) == 0) << "an ignored token";
      }
      EXPECT_NEAR(sum, 0, 1e-12);
    }
  }
}

// No op is forgotten: each stands in the table, or below with the test that covers it.
TEST(OpCases, CoverEveryOp) {
  std::set<std::string_view> covered = {
      "load_batch", "load_scalars",       // tests/ops/step_test.cpp
      "squared_norm", "clip_gradients"};  // tests/ops/step_test.cpp, and with kernels in tests/kernels
  for (const OpCase& c : op_cases(DType::kBF16)) covered.insert(c.op->name());
  for (const auto& [name, op] : reference_ops()) EXPECT_TRUE(covered.contains(name)) << name;
}

}  // namespace
}  // namespace trine::reference
