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
#include "ops/pipeline.h"
#include "ops/repeat_heads.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/swiglu.h"
#include "parallel/tensor_parallel.h"

namespace trine {
namespace {

class LlamaBuilder {
 public:
  LlamaBuilder(const LlamaConfig& config, const BatchShape& batch, const Mesh& mesh, bool sequence_parallel,
               std::span<const Stage> chunks)
      : c_(config), batch_(batch), mesh_(mesh), tp_(mesh, sequence_parallel), chunks_(chunks), b_(mesh) {
    rope_.seq = batch.seq;
    rope_.head_dim = config.head_dim;
    rope_.inverse_frequencies = std::make_shared<const std::vector<double>>(rope_inverse_frequencies(config));
  }

  LlamaForward build() {
    load_step();
    b_.enter(Region::kMicrobatch, Phase::kForward);
    LlamaForward forward;
    for (size_t i = 0; i < chunks_.size(); ++i) {
      b_.set_chunk(static_cast<int>(i));
      const Stage& stage = chunks_[i];
      ValueId x = stage.is_first() ? embedding() : receive(stage);
      for (int64_t layer = stage.first_layer; layer < stage.end_layer; ++layer) x = decoder_layer(layer, x);
      if (stage.is_last())
        head(stage, x, forward);
      else
        send(stage, x);
    }
    b_.set_chunk(0);
    forward.graph = b_.finish();
    return forward;
  }

 private:
  using Place = TensorType (TensorParallel::*)(TensorType) const;

  ValueId embedding() {
    b_.set_scope("embedding");
    const ValueId ids = b_.add(TakeMicrobatch(batch_.tokens()), {b_.read(ids_)});
    table_ = matrix("model.embed_tokens.weight", c_.vocab, c_.hidden, c_.init_std, &TensorParallel::vocab);
    if (c_.tie_embeddings && mesh_.pp > 1) b_.state(table_).tie = Tie::kOwner;
    return tp_.leave(b_, b_.add(Embedding(), {ids, b_.read(table_)}));
  }

  void head(const Stage& stage, ValueId x, LlamaForward& forward) {
    b_.set_scope("head");
    const ValueId labels = b_.add(TakeMicrobatch(batch_.tokens()), {b_.read(labels_)});
    x = tp_.enter(b_, rms_norm("model.norm.weight", x));
    forward.logits = b_.add(Linear(), {x, b_.read(head_weight(stage))});
    b_.name_value(forward.logits, "logits");
    const ValueId stats = tp_.gather_stats(b_, b_.add(VocabStats(mesh_.tp), {forward.logits, labels}));
    forward.loss = b_.add(CrossEntropy(), {stats, labels});
    b_.write(Accumulate(1), {forward.loss}, {loss_sum_});
  }

  ValueId receive(const Stage& stage) {
    b_.set_scope("pipeline");
    const TensorType x = tp_.activation({DType::kF32, {batch_.tokens(), c_.hidden}});
    return b_.add(Receive(stage.index - 1, false, x), {});
  }

  void send(const Stage& stage, ValueId x) {
    b_.set_scope("pipeline");
    b_.add_many(Send(stage.index + 1, false), {x});
  }

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
    const int64_t q_size = c_.heads * c_.head_dim;  // H d
    const auto qkv = queries_keys_values(name, tp_.enter(b_, rms_norm(layer + ".input_layernorm.weight", x)));
    const ValueId q = b_.add(rope_, {qkv[0]}), k = b_.add(rope_, {qkv[1]});
    const ValueId o = b_.add_many(Attention(batch_.seq, c_.head_dim), {q, k, qkv[2]}).at(0);  // [N, H d]
    const ValueId wo =
        b_.read(matrix(name + "o_proj.weight", c_.hidden, q_size, output_std(), &TensorParallel::row));
    return tp_.leave(b_, b_.add(Linear(), {o, wo}));
  }

  // h [N, D]   ->   [N, H d], [N, G d], [N, G d]
  // Where tp is a multiple of G, each rank computes all kv heads and keeps the one that its queries read: k and v
  // are then [N, tp d].
  std::vector<ValueId> queries_keys_values(const std::string& name, ValueId h) {
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
  ValueId own_kv_head(ValueId x) {
    const int64_t copies = div_exact(mesh_.tp, c_.kv_heads, "tp over kv heads");
    return tp_.own_columns(b_, b_.add(RepeatHeads(c_.head_dim, copies), {x}));
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
  // step. On another rank than the embedding it is a copy, which the epilogue keeps equal.
  StateId head_weight(const Stage& stage) {
    if (!c_.tie_embeddings)
      return matrix("lm_head.weight", c_.vocab, c_.hidden, c_.init_std, &TensorParallel::vocab);
    if (stage.count > 1) {
      const StateId copy =
          matrix("model.embed_tokens.weight", c_.vocab, c_.hidden, c_.init_std, &TensorParallel::vocab);
      b_.state(copy).tie = Tie::kCopy;
      return copy;
    }
    State tied = b_.graph()[table_];
    tied.name = "lm_head.weight";
    tied.storage = table_;
    return b_.add_state(std::move(tied));
  }

  // Projections back into the residual stream start smaller, so that its variance does not grow with depth.
  double output_std() const { return c_.init_std / std::sqrt(2.0 * static_cast<double>(c_.layers)); }

  StateId scalar(const char* name, DType dtype, Shape shape = {1}) {
    return b_.add_state({.name = name, .type = {dtype, std::move(shape)}, .role = StateRole::kScalar});
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
    TensorType loss{DType::kF32, {1}};
    if (mesh_.dp > 1) loss.on(Axis::kDp) = Placement::partial();
    loss_sum_ = b_.add_state({.name = step_state::kLossSum, .type = loss, .role = StateRole::kScalar});
    b_.enter(Region::kPrologue);
    b_.set_scope("step");
    b_.write(LoadBatch(tokens.shape[0], mesh_.dp > 1), {}, {ids_, labels_});
    b_.write(LoadScalars(), {}, {rate, scale});
    if (!chunks_.back().is_last()) b_.write(Clear(loss), {}, {loss_sum_});
    count_valid_tokens(valid);
  }

  const LlamaConfig& c_;
  const BatchShape batch_;
  const Mesh mesh_;
  const TensorParallel tp_;
  const std::span<const Stage> chunks_;
  Rope rope_;
  Builder b_;
  StateId ids_, labels_, loss_sum_, table_;
};

}  // namespace

LlamaForward build_llama(const LlamaConfig& config, const BatchShape& batch, const Mesh& mesh,
                         bool sequence_parallel, std::span<const Stage> chunks) {
  const Stage whole{.index = 0, .count = 1, .first_layer = 0, .end_layer = config.layers};
  if (chunks.empty()) chunks = std::span(&whole, 1);
  return LlamaBuilder(config, batch, mesh, sequence_parallel, chunks).build();
}

StageCosts stage_costs(const LlamaConfig& c, int64_t seq) {
  const double hidden = static_cast<double>(c.hidden);
  const double matrices = static_cast<double>((2 * c.heads + 2 * c.kv_heads) * c.head_dim + 3 * c.ffn) * hidden;
  const double attention = static_cast<double>(c.heads * c.head_dim * seq);
  // Looking up, adding and updating rows is all memory: a core does some 30 multiply-adds in the time of one element.
  constexpr double kOpsPerElement = 30;
  return {.layer = matrices + attention,
          .embedding = 2 * kOpsPerElement * hidden,
          .head = hidden * static_cast<double>(c.vocab)};
}

}  // namespace trine
