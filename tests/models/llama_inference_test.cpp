#include "models/llama_inference.h"

#include <gtest/gtest.h>
#include <map>

#include "graph/verifier.h"
#include "models/llama.h"

namespace trine {
namespace {

LlamaConfig small(bool tied) {
  LlamaConfig c;
  c.layers = 3, c.hidden = 32, c.heads = 8, c.kv_heads = 2, c.head_dim = 8, c.ffn = 52, c.vocab = 70;
  c.tie_embeddings = tied;
  return c;
}

std::map<std::string, TensorType> parameters(const Graph& graph) {
  std::map<std::string, TensorType> types;
  for (const State& state : graph.states())
    if (state.role == StateRole::kParameter && !state.storage.valid()) types[state.name] = state.type;
  return types;
}

// The same tensors, split alike: whatever holds a trained model's weights can fill a generator.
TEST(LlamaInference, HasTheParametersOfTraining) {
  for (const bool tied : {false, true})
    for (const int tp : {1, 2, 4, 8}) {
      Mesh mesh;
      mesh.tp = tp;
      const Graph training = build_llama(small(tied), {1, 16, 1}, mesh, false).graph;
      const LlamaInference inference = build_llama_inference(small(tied), {.block = 8, .max_seq = 16}, mesh);
      EXPECT_NO_THROW(verify(inference.graph));
      EXPECT_EQ(parameters(inference.graph), parameters(training)) << "tp " << tp;
      for (const ValueId logits : inference.logits)
        EXPECT_EQ(inference.graph[logits].type.shape, (Shape{1, 70})) << "the last token's only";
    }
}

TEST(LlamaInference, EachChunkReadsEveryWeightOnce) {
  const LlamaInference inference = build_llama_inference(small(false), {.block = 8, .max_seq = 16}, Mesh{});
  std::map<std::pair<int, std::string>, int> reads;
  for (const Node& node : inference.graph.nodes())
    for (const ValueId input : node.inputs) {
      const StateId state = inference.graph[input].state;
      if (state.valid() && inference.graph[state].role == StateRole::kParameter)
        ++reads[{node.chunk, inference.graph[state].name}];
    }
  EXPECT_EQ(reads.size(), 2 * parameters(inference.graph).size());
  for (const auto& [what, count] : reads) EXPECT_EQ(count, 1) << what.second;
}

}  // namespace
}  // namespace trine
