#include "models/llama_inference.h"

#include <memory>

#include "models/llama_layers.h"
#include "ops/cached_attention.h"
#include "ops/rope.h"
#include "ops/take_row.h"

namespace trine {
namespace {

class InferenceBuilder final : public LlamaLayers {
 public:
  InferenceBuilder(const LlamaConfig& config, const InferenceShape& shape, const Mesh& mesh)
      : LlamaLayers(config, mesh, false, shape.dtype), shape_(shape) {
    rope_.max_seq = shape.max_seq;
    rope_.head_dim = config.head_dim;
    rope_.inverse_frequencies = std::make_shared<const std::vector<double>>(rope_inverse_frequencies(config));
  }

  LlamaInference build() {
    position_ = input(inference_state::kPosition, StateRole::kScalar, 1);
    last_row_ = input(inference_state::kLastRow, StateRole::kScalar, 1);
    LlamaInference inference;
    inference.logits[kPrefillChunk] =
        forward(kPrefillChunk, input(inference_state::kBlockIds, StateRole::kBatch, shape_.block));
    inference.logits[kDecodeChunk] = forward(kDecodeChunk, input(inference_state::kTokenId, StateRole::kBatch, 1));
    inference.graph = b_.finish();
    return inference;
  }

 private:
  // ids [N]   ->   logits [1, V]
  ValueId forward(int chunk, ValueId ids) {
    b_.set_chunk(chunk);
    b_.set_scope("embedding");
    const StateId table = embedding_table();
    ValueId x = embed(ids, table);
    for (int64_t layer = 0; layer < c_.layers; ++layer) x = decoder_layer(layer, x);
    b_.set_scope("head");
    x = b_.add(TakeRow(), {x, last_row_});
    return logits(final_norm(x), c_.tie_embeddings ? table : untied_head());
  }

  ValueId attend(int64_t layer, ValueId queries, ValueId keys, ValueId v) override {
    const ValueId q = b_.add(rope_, {queries, position_}), k = b_.add(rope_, {keys, position_});
    const CachedAttention op(shape_.max_seq, c_.head_dim);
    const std::vector<StateId> caches = {cache("keys", layer, k), cache("values", layer, v)};
    return b_.emit(std::make_shared<const CachedAttention>(op), {q, k, v, position_}, caches).at(0);
  }

  // [max_seq, G d], placed as the rows that go into it
  StateId cache(const char* what, int64_t layer, ValueId rows) {
    State state{.name = fmt::format("cache.{}.{}", layer, what), .type = b_.type(rows), .role = StateRole::kCache};
    state.type.shape[0] = shape_.max_seq;
    const StateId known = b_.find_state(state.name);
    return known.valid() ? known : b_.add_state(std::move(state));
  }

  ValueId input(const char* name, StateRole role, int64_t count) {
    return b_.read(b_.add_state({.name = name, .type = {DType::kI32, {count}}, .role = role}));
  }

  const InferenceShape shape_;
  RopeAt rope_;
  ValueId position_, last_row_;
};

}  // namespace

LlamaInference build_llama_inference(const LlamaConfig& config, const InferenceShape& shape, const Mesh& mesh) {
  return InferenceBuilder(config, shape, mesh).build();
}

}  // namespace trine
