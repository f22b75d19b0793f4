// Shape letters: B sequences, T tokens each, D hidden, H query heads, G kv heads, d head_dim, F ffn, V vocab; N = B
// * T.
#include "models/llama.h"

#include <cmath>

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
#include "parallel/tensor_parallel.h"

namespace trine {
namespace {

class LlamaBuilder {
 public:
  LlamaBuilder(const LlamaConfig& config, const BatchShape& batch, const Mesh& mesh, bool sequence_parallel)
      : c_(config), batch_(batch), mesh_(mesh), tp_(mesh, sequence_parallel), b_(mesh) {
    rope_.seq = batch.seq;
    rope_.head_dim = config.head_dim;
    rope_.inverse_frequencies = std::make_shared<const std::vector<double>>(rope_inverse_frequencies(config));
  }

  LlamaForward build() {
    load_step();
    b_.enter(Region::kMicrobatch, Phase::kForward);
    b_.set_scope("embedding");
    const ValueId ids = b_.add(TakeMicrobatch(batch_.tokens()), {b_.read(ids_)});
    const ValueId labels = b_.add(TakeMicrobatch(batch_.tokens()), {b_.read(labels_)});
    const StateId table =
        matrix("model.embed_tokens.weight", c_.vocab, c_.hidden, c_.init_std, &TensorParallel::vocab);
    ValueId x = tp_.leave(b_, b_.add(Embedding(), {ids, b_.read(table)}));
    for (int64_t layer = 0; layer < c_.layers; ++layer) x = decoder_layer(layer, x);
    b_.set_scope("head");
    x = tp_.enter(b_, rms_norm("model.norm.weight", x));
    const ValueId logits = b_.add(Linear(), {x, b_.read(head_weight(table))});
    b_.name_value(logits, "logits");
    const ValueId stats = tp_.gather_stats(b_, b_.add(VocabStats(mesh_.tp), {logits, labels}));
    const ValueId loss = b_.add(CrossEntropy(), {stats, labels});
    b_.write(Accumulate(1), {loss}, {sum_of(loss)});
    return {b_.finish(), logits, loss};
  }

 private:
  using Place = TensorType (TensorParallel::*)(TensorType) const;

  // x + attention(norm(x)), then + ffn(norm(x)).
  ValueId decoder_layer(int64_t layer, ValueId x) {
    const std::string name = "model.layers." + std::to_string(layer), scope = "layers." + std::to_string(layer);
    b_.set_scope(scope + ".attention");
    x = b_.add(Add(), {x, attention(name, x)});
    b_.set_scope(scope + ".ffn");
    return b_.add(Add(), {x, feed_forward(name, x)});
  }

  ValueId attention(const std::string& layer, ValueId x) {
    const std::string name = layer + ".self_attn.";
    const int64_t q_size = c_.heads * c_.head_dim, kv_size = c_.kv_heads * c_.head_dim;  // H d, G d
    const ValueId h = tp_.enter(b_, rms_norm(layer + ".input_layernorm.weight", x));
    const ValueId wq =
        b_.read(matrix(name + "q_proj.weight", q_size, c_.hidden, c_.init_std, &TensorParallel::column));
    const ValueId wk =
        b_.read(matrix(name + "k_proj.weight", kv_size, c_.hidden, c_.init_std, &TensorParallel::column));
    const ValueId wv =
        b_.read(matrix(name + "v_proj.weight", kv_size, c_.hidden, c_.init_std, &TensorParallel::column));
    const auto qkv = b_.add_many(Linear(3), {h, wq, wk, wv});  // [N, H d], [N, G d], [N, G d]
    const ValueId q = b_.add(rope_, {qkv[0]}), k = b_.add(rope_, {qkv[1]});
    const ValueId o = b_.add_many(Attention(batch_.seq, c_.head_dim), {q, k, qkv[2]}).at(0);  // [N, H d]
    const ValueId wo =
        b_.read(matrix(name + "o_proj.weight", c_.hidden, q_size, output_std(), &TensorParallel::row));
    return tp_.leave(b_, b_.add(Linear(), {o, wo}));
  }

  ValueId feed_forward(const std::string& layer, ValueId x) {
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

  ValueId rms_norm(const std::string& name, ValueId x) {
    const StateId weight = b_.add_state({.name = name,
                                         .type = tp_.norm({DType::kF32, {c_.hidden}}),
                                         .role = StateRole::kParameter,
                                         .init = {Initializer::Kind::kOnes}});
    return b_.add_many(RmsNorm(static_cast<float>(c_.norm_eps)), {x, b_.read(weight)}).at(0);
  }

  StateId matrix(const std::string& name, int64_t out, int64_t in, double stddev, Place place) {
    return b_.add_state({.name = name,
                         .type = (tp_.*place)({DType::kF32, {out, in}}),
                         .role = StateRole::kParameter,
                         .init = {Initializer::Kind::kNormal, static_cast<float>(stddev)},
                         .weight_decay = true});
  }

  // A tied head reads the embedding's storage, but accumulates its own gradient: two uses, two sums, added once a
  // step.
  StateId head_weight(StateId table) {
    if (!c_.tie_embeddings)
      return matrix("lm_head.weight", c_.vocab, c_.hidden, c_.init_std, &TensorParallel::vocab);
    State tied = b_.graph()[table];
    tied.name = "lm_head.weight";
    tied.storage = table;
    return b_.add_state(std::move(tied));
  }

  // Projections back into the residual stream start smaller, so that its variance does not grow with depth.
  double output_std() const { return c_.init_std / std::sqrt(2.0 * static_cast<double>(c_.layers)); }

  StateId scalar(const char* name, DType dtype, Shape shape = {1}) {
    return b_.add_state({.name = name, .type = {dtype, std::move(shape)}, .role = StateRole::kScalar});
  }

  StateId sum_of(ValueId loss) {
    return b_.add_state({.name = step_state::kLossSum, .type = b_.type(loss), .role = StateRole::kScalar});
  }

  // Each dp rank counts its own samples; all divide by the sum.
  void count_valid_tokens(StateId total) {
    if (mesh_.dp == 1) return b_.write(CountValid(), {b_.read(labels_)}, {total});
    TensorType own{DType::kF32, {1}};
    own.on(Axis::kDp) = Placement::partial();
    const StateId count = b_.add_state({.name = "step.own_tokens", .type = own, .role = StateRole::kScalar});
    b_.write(CountValid(), {b_.read(labels_)}, {count});
    b_.write(Collective(Axis::kDp, {Placement::partial(), Placement::invariant()}, 1, true), {b_.read(count)},
             {total});
  }

  void load_step() {
    TensorType tokens{DType::kI32, {batch_.tokens() * batch_.num_microbatches}};
    if (mesh_.dp > 1) tokens.on(Axis::kDp) = Placement::batch_split();
    ids_ = b_.add_state({.name = step_state::kIds, .type = tokens, .role = StateRole::kBatch});
    labels_ = b_.add_state({.name = step_state::kLabels, .type = tokens, .role = StateRole::kBatch});
    const StateId rate = scalar(step_state::kLearningRate, DType::kF32),
                  scale = scalar(step_state::kLossScale, DType::kF32);
    const StateId valid = scalar(step_state::kValidTokens, DType::kF32);
    b_.enter(Region::kPrologue);
    b_.set_scope("step");
    b_.write(LoadBatch(tokens.shape[0], mesh_.dp > 1), {}, {ids_, labels_});
    b_.write(LoadScalars(), {}, {rate, scale});
    count_valid_tokens(valid);
  }

  const LlamaConfig& c_;
  const BatchShape batch_;
  const Mesh mesh_;
  const TensorParallel tp_;
  Rope rope_;
  Builder b_;
  StateId ids_, labels_;
};

}  // namespace

LlamaForward build_llama(const LlamaConfig& config, const BatchShape& batch, const Mesh& mesh,
                         bool sequence_parallel) {
  return LlamaBuilder(config, batch, mesh, sequence_parallel).build();
}

}  // namespace trine
