#include "models/llama_layers.h"

#include <cmath>

#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/repeat_heads.h"
#include "ops/rms_norm.h"
#include "ops/swiglu.h"

namespace trine {

ValueId LlamaLayers::embed(ValueId ids, StateId table) {
  return tp_.leave(b_, b_.add(Embedding(), {ids, b_.read(table)}));
}

ValueId LlamaLayers::final_norm(ValueId x) { return tp_.enter(b_, rms_norm("model.norm.weight", x)); }

ValueId LlamaLayers::logits(ValueId h, StateId head) {
  const ValueId y = b_.add(Linear(), {h, b_.read(head)});
  b_.name_value(y, "logits");
  return y;
}

ValueId LlamaLayers::decoder_layer(int64_t layer, ValueId x) {
  const std::string name = "model.layers." + std::to_string(layer), scope = "layers." + std::to_string(layer);
  b_.set_scope(scope + ".attention");
  x = b_.add(Add(), {x, attention(layer, name, x)});
  b_.set_scope(scope + ".ffn");
  return b_.add(Add(), {x, feed_forward(name, x)});
}

ValueId LlamaLayers::attention(int64_t layer, const std::string& layer_name, ValueId x) {
  const std::string name = layer_name + ".self_attn.";
  const int64_t q_size = c_.heads * c_.head_dim;  // H d
  const auto qkv = queries_keys_values(name, tp_.enter(b_, rms_norm(layer_name + ".input_layernorm.weight", x)));
  const ValueId o = attend(layer, qkv[0], qkv[1], qkv[2]);  // [N, H d]
  const ValueId wo = b_.read(matrix(name + "o_proj.weight", c_.hidden, q_size, output_std(), &TensorParallel::row));
  return tp_.leave(b_, b_.add(Linear(), {o, wo}));
}

// h [N, D]   ->   [N, H d], [N, G d], [N, G d]
// Where tp is a multiple of G, each rank computes all kv heads and keeps the one that its queries read: k and v
// are then [N, tp d].
std::vector<ValueId> LlamaLayers::queries_keys_values(const std::string& name, ValueId h) {
  const int64_t q_size = c_.heads * c_.head_dim, kv_size = c_.kv_heads * c_.head_dim;  // H d, G d
  const bool shared_heads = mesh_.tp > c_.kv_heads;
  const Place column = &TensorParallel::column, kv = shared_heads ? &TensorParallel::whole : column;
  const ValueId wq = b_.read(matrix(name + "q_proj.weight", q_size, c_.hidden, c_.init_std, column));
  const ValueId wk = b_.read(matrix(name + "k_proj.weight", kv_size, c_.hidden, c_.init_std, kv));
  const ValueId wv = b_.read(matrix(name + "v_proj.weight", kv_size, c_.hidden, c_.init_std, kv));
  if (!shared_heads) return b_.add_many(Linear(3), {h, wq, wk, wv});
  const auto all = b_.add_many(Linear(2), {h, wk, wv});
  return {b_.add(Linear(), {h, wq}), own_kv_head(all[0]), own_kv_head(all[1])};
}

// [N, G d]   ->   [N, tp d], one head per rank
ValueId LlamaLayers::own_kv_head(ValueId x) {
  const int64_t copies = div_exact(mesh_.tp, c_.kv_heads, "tp over kv heads");
  return tp_.own_columns(b_, b_.add(RepeatHeads(c_.head_dim, copies), {x}));
}

ValueId LlamaLayers::feed_forward(const std::string& layer, ValueId x) {
  const std::string name = layer + ".mlp.";
  const ValueId h = tp_.enter(b_, rms_norm(layer + ".post_attention_layernorm.weight", x));
  const ValueId gate =
      b_.read(matrix(name + "gate_proj.weight", c_.ffn, c_.hidden, c_.init_std, &TensorParallel::column));
  const ValueId up =
      b_.read(matrix(name + "up_proj.weight", c_.ffn, c_.hidden, c_.init_std, &TensorParallel::column));
  const auto gated = b_.add_many(Linear(2), {h, gate, up});  // [N, F] twice
  const ValueId product = b_.add(SwiGlu(), {gated[0], gated[1]});
  const ValueId down =
      b_.read(matrix(name + "down_proj.weight", c_.hidden, c_.ffn, output_std(), &TensorParallel::row));
  return tp_.leave(b_, b_.add(Linear(), {product, down}));
}

ValueId LlamaLayers::rms_norm(const std::string& name, ValueId x) {
  const StateId weight = parameter({.name = name,
                                    .type = tp_.norm({dtype_, {c_.hidden}}),
                                    .role = StateRole::kParameter,
                                    .init = {Initializer::Kind::kOnes}});
  return b_.add_many(RmsNorm(static_cast<float>(c_.norm_eps)), {x, b_.read(weight)}).at(0);
}

StateId LlamaLayers::embedding_table() {
  return matrix("model.embed_tokens.weight", c_.vocab, c_.hidden, c_.init_std, &TensorParallel::vocab);
}

StateId LlamaLayers::untied_head() {
  return matrix("lm_head.weight", c_.vocab, c_.hidden, c_.init_std, &TensorParallel::vocab);
}

StateId LlamaLayers::matrix(const std::string& name, int64_t out, int64_t in, double stddev, Place place) {
  return parameter({.name = name,
                    .type = (tp_.*place)({dtype_, {out, in}}),
                    .role = StateRole::kParameter,
                    .init = {Initializer::Kind::kNormal, static_cast<float>(stddev)},
                    .weight_decay = true});
}

StateId LlamaLayers::parameter(State state) {
  const StateId known = b_.find_state(state.name);
  return known.valid() ? known : b_.add_state(std::move(state));
}

// Projections back into the residual stream start smaller, so that its variance does not grow with depth.
double LlamaLayers::output_std() const { return c_.init_std / std::sqrt(2.0 * static_cast<double>(c_.layers)); }

}  // namespace trine
