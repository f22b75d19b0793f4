// Recomputation and the split of backward on a whole LLaMA graph, in f64 on all tensor-parallel ranks: every
// gradient is the same number.
#include "graph/passes/recompute.h"

#include <gtest/gtest.h>

#include "graph/autodiff.h"
#include "graph/passes/split_backward.h"
#include "graph/verifier.h"
#include "models/llama.h"
#include "models/presets.h"
#include "ops/batch.h"
#include "ops/elementwise.h"
#include "tests/reference/interpreter.h"

namespace trine::reference {
namespace {

using Policy = RecomputeOptions::Policy;

struct Layout {
  int tp = 1;
  bool sequence_parallel = false;
};

constexpr int64_t kSequences = 2, kSeq = 6;

LlamaConfig small_llama() {
  LlamaConfig config = find_preset("tiny")->model;
  config.layers = 3, config.hidden = 16, config.head_dim = 4, config.ffn = 20, config.vocab = 24;
  return config;
}

Graph build(Layout layout) {
  const BatchShape batch{.micro_batch = 1, .seq = kSeq, .num_microbatches = kSequences};
  LlamaForward forward = build_llama(small_llama(), batch, Mesh{.tp = layout.tp}, layout.sequence_parallel);
  const auto seed = [](Builder& b) {
    const auto read = [&](const char* name) { return b.read(b.graph().state_named(name)); };
    return b.add(LossSeed(), {read(step_state::kLossScale), read(step_state::kValidTokens)});
  };
  return differentiate(
      std::move(forward.graph), forward.loss,
      {.add = std::make_shared<Add>(), .accumulate = std::make_shared<Accumulate>(1), .seed = seed});
}

std::map<std::string, std::vector<double>> run(const Graph& graph) {
  verify(graph);
  Interpreter interpreter(graph);
  interpreter.host() = {.ids = random_integers({kSequences * kSeq}, 1, 0, 24),
                        .labels = random_integers({kSequences * kSeq}, 2, 0, 24),
                        .lr = 0,
                        .loss_scale = 1};
  uint64_t seed = 10;
  for (const State& state : graph.states())
    if (state.role == StateRole::kParameter)
      interpreter.set(state.name, random_normal(state.type.shape, ++seed, 0.4, 0.1));
  interpreter.run_step(kSequences);
  std::map<std::string, std::vector<double>> results;
  for (const State& state : graph.states())
    if (state.role == StateRole::kGradient || state.name == step_state::kLossSum)
      results[state.name] = interpreter.get(state.name).data;
  return results;
}

class RecomputedLlama : public testing::TestWithParam<Layout> {};

TEST_P(RecomputedLlama, HasTheSameGradients) {
  const Graph graph = build(GetParam());
  const auto expected = run(graph);
  ASSERT_EQ(expected.size(), 3u * 9 + 3 + 1);
  for (const RecomputeOptions options :
       {RecomputeOptions{}, RecomputeOptions{Policy::kSelective}, RecomputeOptions{Policy::kGroup, 1},
        RecomputeOptions{Policy::kGroup, 2}}) {
    const Graph recomputed = recompute(graph, options);
    EXPECT_EQ(run(recomputed), expected);
    EXPECT_EQ(run(split_backward(recomputed)), expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, RecomputedLlama,
                         testing::Values(Layout{1, false}, Layout{2, false}, Layout{2, true}, Layout{4, true}),
                         [](const auto& test) {
                           return fmt::format("tp{}{}", test.param.tp, test.param.sequence_parallel ? "_sp" : "");
                         });

}  // namespace
}  // namespace trine::reference
