// The placement rules, proved: a LLaMA block with vocabulary-parallel embedding, head and loss is built on several
// meshes, differentiated, and run on all their ranks in f64. Loss and gradients must be those of one rank.
#include <gmock/gmock.h>

#include "graph/autodiff.h"
#include "graph/verifier.h"
#include "ops/attention.h"
#include "ops/batch.h"
#include "ops/collective.h"
#include "ops/cross_entropy.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/swiglu.h"
#include "tests/reference/interpreter.h"

namespace trine::reference {
namespace {

using enum PlacementKind;
constexpr auto I = Placement::invariant(), R = Placement::replicated(), P = Placement::partial();
constexpr Placement S(int dim) { return Placement::split(dim); }

// Sizes that tp = 4 splits unevenly: 7 or 14 tokens, 13 words, 18 feed-forward features.
constexpr int64_t kSeq = 7, kHidden = 12, kHeads = 8, kKvHeads = 4, kHeadDim = 2, kFfn = 18, kVocab = 13;
constexpr int64_t kSequences = 4;  // of a step
constexpr int kMicrobatches = 2;

struct Layout {
  int dp = 1, tp = 1;
  bool sequence_parallel = false;
};

class Block {
 public:
  explicit Block(Layout layout)
      : mesh_{.dp = layout.dp, .tp = layout.tp},
        layout_(layout),
        sequence_parallel_(layout.sequence_parallel),
        b_(mesh_) {}

  // The graph after differentiate().
  Graph build() {
    const int64_t tokens = kSeq * kSequences / layout_.dp;  // of one dp rank in a step
    TensorType batch{DType::kI32, {tokens}};
    if (layout_.dp > 1) batch.on(Axis::kDp) = Placement::batch_split();
    const ValueId all_ids = state("ids", batch, StateRole::kBatch),
                  all_labels = state("labels", batch, StateRole::kBatch);
    const ValueId ids = b_.add(TakeMicrobatch(tokens / kMicrobatches), {all_ids});
    const ValueId labels = b_.add(TakeMicrobatch(tokens / kMicrobatches), {all_labels});

    ValueId x = leave(b_.add(Embedding(), {ids, parameter("embedding", {kVocab, kHidden}, S(0))}));
    x = b_.add(Add(), {x, attention(enter(norm("norm1", x)))});
    x = b_.add(Add(), {x, feed_forward(enter(norm("norm2", x)))});
    x = enter(norm("norm3", x));
    const ValueId logits = b_.add(Linear(), {x, parameter("head", {kVocab, kHidden}, S(0))});
    ValueId stats = b_.add(VocabStats(mesh_.tp), {logits, labels});
    if (mesh_.tp > 1) stats = b_.add(Collective(Axis::kTp, {S(0), I}, 3), {stats});
    const ValueId loss = b_.add(CrossEntropy(), {stats, labels});
    b_.write(Accumulate(1), {loss}, {sum_state(loss)});
    const ValueId scale = state("loss_scale", {DType::kF32, {1}}, StateRole::kScalar);
    const ValueId count = state("count", {DType::kI64, {1}}, StateRole::kScalar);
    Graph graph = differentiate(
        b_.finish(), loss,
        {.add = std::make_shared<Add>(), .accumulate = std::make_shared<Accumulate>(1), .seed = [&](Builder& b) {
           return b.add(LossSeed(), {scale, count});
         }});
    verify(graph);
    return graph;
  }

 private:
  ValueId state(const std::string& name, TensorType type, StateRole role) {
    return b_.read(b_.add_state({.name = name, .type = std::move(type), .role = role}));
  }
  StateId sum_state(ValueId loss) {
    return b_.add_state({.name = "loss", .type = b_.type(loss), .role = StateRole::kScalar});
  }
  ValueId parameter(const std::string& name, Shape shape, Placement on_tp) {
    TensorType type{DType::kF32, std::move(shape)};
    if (mesh_.tp > 1) type.on(Axis::kTp) = on_tp;
    if (mesh_.dp > 1) type.on(Axis::kDp) = R;
    return state(name, type, StateRole::kParameter);
  }
  // Between the norms' side (whole and the same everywhere, or split over tokens) and the products' side.
  ValueId enter(ValueId x) {
    if (mesh_.tp == 1) return x;
    return b_.add(Collective(Axis::kTp, {sequence_parallel_ ? S(0) : I, R}), {x});
  }
  ValueId leave(ValueId x) {
    if (mesh_.tp == 1) return x;
    return b_.add(Collective(Axis::kTp, {P, sequence_parallel_ ? S(0) : I}), {x});
  }
  ValueId norm(const std::string& name, ValueId x) {
    return b_.add_many(RmsNorm(1e-5f), {x, parameter(name, {kHidden}, sequence_parallel_ ? R : I)}).at(0);
  }
  ValueId attention(ValueId x) {
    const auto qkv = b_.add_many(Linear(3), {x, parameter("q", {kHeads * kHeadDim, kHidden}, S(0)),
                                             parameter("k", {kKvHeads * kHeadDim, kHidden}, S(0)),
                                             parameter("v", {kKvHeads * kHeadDim, kHidden}, S(0))});
    Rope rope;
    rope.seq = kSeq;
    rope.head_dim = kHeadDim;
    rope.inverse_frequencies = std::make_shared<const std::vector<double>>(kHeadDim / 2, 0.8);
    const ValueId q = b_.add(rope, {qkv[0]}), k = b_.add(rope, {qkv[1]});
    const ValueId o = b_.add_many(Attention(kSeq, kHeadDim), {q, k, qkv[2]}).at(0);
    return leave(b_.add(Linear(), {o, parameter("o", {kHidden, kHeads * kHeadDim}, S(1))}));
  }
  ValueId feed_forward(ValueId x) {
    const auto gated = b_.add_many(
        Linear(2), {x, parameter("gate", {kFfn, kHidden}, S(0)), parameter("up", {kFfn, kHidden}, S(0))});
    const ValueId h = b_.add(SwiGlu(), {gated[0], gated[1]});
    return leave(b_.add(Linear(), {h, parameter("down", {kHidden, kFfn}, S(1))}));
  }

  const Mesh mesh_;
  const Layout layout_;
  const bool sequence_parallel_;
  Builder b_;
};

// Runs one step; the result holds the loss and every gradient, by state name.
std::map<std::string, Tensor> run_step(Layout layout) {
  const Graph graph = Block(layout).build();
  Interpreter interpreter(graph);
  Tensor labels = random_integers({kSeq * kSequences}, 2, 0, kVocab);
  for (int64_t i = 1; i < labels.size(); i += 6) labels(i) = -100;
  interpreter.set("ids", random_integers({kSeq * kSequences}, 1, 0, kVocab));
  interpreter.set("labels", labels);
  interpreter.set("loss_scale", Tensor({1}, {16}));
  interpreter.set("count", Tensor({1}, {23}));
  uint64_t seed = 10;
  for (const State& state : graph.states())
    if (state.role == StateRole::kParameter)
      interpreter.set(state.name,
                      random_normal(state.type.shape, ++seed, state.type.shape.num_dims() == 1 ? 0.3 : 0.5,
                                    state.type.shape.num_dims() == 1 ? 1 : 0));
  interpreter.run_step(kMicrobatches);
  std::map<std::string, Tensor> results = {{"loss", interpreter.get("loss")}};
  for (const State& state : graph.states())
    if (state.role == StateRole::kGradient) results[state.name] = interpreter.get(state.name);
  return results;
}

class ParallelBlock : public testing::TestWithParam<Layout> {};

TEST_P(ParallelBlock, GivesTheLossAndGradientsOfOneRank) {
  const auto one = run_step({}), many = run_step(GetParam());
  ASSERT_EQ(one.size(), 13u);
  for (const auto& [name, value] : one) {
    ASSERT_TRUE(many.contains(name)) << name;
    EXPECT_GT(norm(value), 1e-3) << name;
    EXPECT_LT(relative_error(many.at(name), value), 1e-12) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, ParallelBlock,
                         testing::Values(Layout{1, 2, false}, Layout{1, 2, true}, Layout{1, 4, false},
                                         Layout{1, 4, true}, Layout{2, 1, false}, Layout{2, 2, false},
                                         Layout{2, 2, true}, Layout{2, 4, true}),
                         [](const auto& layout) {
                           return fmt::format("dp{}_tp{}{}", layout.param.dp, layout.param.tp,
                                              layout.param.sequence_parallel ? "_sp" : "");
                         });

// The gradient of the whole block, by finite differences of its loss: what the layouts are compared with is right.
TEST(ParallelBlock, OneRankIsTheDerivative) {
  const Graph graph = Block({}).build();
  Interpreter interpreter(graph);
  interpreter.set("ids", random_integers({kSeq * kSequences}, 1, 0, kVocab));
  interpreter.set("labels", random_integers({kSeq * kSequences}, 2, 0, kVocab));
  interpreter.set("loss_scale", Tensor({1}, {1}));
  interpreter.set("count", Tensor({1}, {1}));
  std::map<std::string, Tensor> parameters;
  for (const State& state : graph.states())
    if (state.role == StateRole::kParameter)
      interpreter.set(state.name, parameters[state.name] = random_normal(state.type.shape, parameters.size(), 0.5));
  interpreter.run_step(kMicrobatches);
  std::map<std::string, Tensor> gradients;
  for (const auto& [name, value] : parameters) gradients[name] = interpreter.get("grad." + name);
  for (const auto& [name, value] : parameters) {
    const Tensor direction = random_normal(value.shape, 99);
    const auto loss_at = [&, name = name, value = value](double step) {
      interpreter.set(name, value + step * direction);
      interpreter.run_step(kMicrobatches);
      return interpreter.get("loss")(0);
    };
    const double slope = (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5;
    loss_at(0);
    EXPECT_NEAR(dot(gradients[name], direction), slope, 1e-6 * norm(gradients[name]) * norm(direction)) << name;
  }
}

// Forgetting the enter before the first norm's consumers cannot be built, let alone trained.
TEST(ParallelBlock, AnInvariantActivationBesideASplitWeightIsRefused) {
  Builder b{Mesh{.tp = 2}};
  TensorType weight{DType::kF32, {8, 4}};
  weight.on(Axis::kTp) = S(0);
  const StateId x = b.add_state({.name = "x", .type = {DType::kF32, {6, 4}}});
  const StateId w = b.add_state({.name = "w", .type = weight, .role = StateRole::kParameter});
  EXPECT_THAT(
      [&] {
        b.add(Linear(), {b.read(x), b.read(w)});
      },
      testing::ThrowsMessage<TypeError>(testing::HasSubstr("it needs an enter first")));
}

}  // namespace
}  // namespace trine::reference
