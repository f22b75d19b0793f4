#include "plan/inference_plan.h"

#include "base/error.h"
#include "graph/passes/in_place.h"
#include "graph/verifier.h"
#include "ops/embedding.h"
#include "ops/fusions.h"

namespace trine {
namespace {

void check_split(const LlamaConfig& m, int tp) {
  Problems problems;
  if (m.heads % tp != 0)
    problems.add("mesh", "{} heads over --tp {}. Take a --tp that divides the heads.", m.heads, tp);
  if (m.kv_heads % tp != 0 && tp % m.kv_heads != 0)
    problems.add("mesh", "{} kv heads over --tp {}. Take a divisor or a multiple of the kv heads.", m.kv_heads, tp);
  // split_size() leaves no rank without a share only if ceil(n / tp) * (tp - 1) < n.
  for (const auto& [what, size] : {std::pair{"ffn", m.ffn}, {"vocabulary", m.vocab}})
    if (div_up(size, int64_t{tp}) * (tp - 1) >= size)
      problems.add("mesh", "{} of {} over --tp {} leaves a rank without a share. Lower --tp.", what, size, tp);
  problems.throw_if_any();
}

}  // namespace

int64_t InferencePlan::cache_bytes() const {
  int64_t bytes = 0;
  for (const State& state : graph.states())
    if (state.role == StateRole::kCache) bytes += local_bytes(state.type, mesh());
  return bytes;
}

int64_t InferencePlan::decode_bytes(int64_t position) const {
  int64_t bytes = cache_bytes() / shape.max_seq * position;
  for (const State& state : graph.states())
    if (state.role == StateRole::kParameter) bytes += local_bytes(state.type, mesh());
  if (!model.tie_embeddings)
    bytes -= local_bytes(graph[graph.state_named("model.embed_tokens.weight")].type, mesh());
  return bytes;
}

InferencePlan build_inference_plan(const LlamaConfig& model, const InferenceShape& shape, int tp,
                                   const Target& target) {
  check_split(model, tp);
  Mesh mesh;
  mesh.tp = tp;
  LlamaInference inference = build_llama_inference(model, shape, mesh);
  verify(inference.graph);
  InferencePlan plan{
      model, shape, target.threads, choose_in_place(fuse(std::move(inference.graph), fusions())), inference.logits,
      {}};
  plan.memory = plan_memory(
      plan.graph, {{kPrefillChunk, ActionKind::kForward, 0}, {kDecodeChunk, ActionKind::kForward, 0}}, target);
  return plan;
}

}  // namespace trine
