// Shape letters: B sequences, T tokens each, D hidden, V vocab; N = B * T.
#include "models/llama.h"

#include <memory>

#include "models/llama_layers.h"
#include "ops/attention.h"
#include "ops/batch.h"
#include "ops/collective.h"
#include "ops/cross_entropy.h"
#include "ops/elementwise.h"
#include "ops/pipeline.h"
#include "ops/rope.h"

namespace trine {
namespace {

class LlamaBuilder final : public LlamaLayers {
 public:
  LlamaBuilder(const LlamaConfig& config, const BatchShape& batch, const Mesh& mesh, bool sequence_parallel,
               std::span<const Stage> chunks)
      : LlamaLayers(config, mesh, sequence_parallel, DType::kF32), batch_(batch), chunks_(chunks) {
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
  ValueId embedding() {
    b_.set_scope("embedding");
    const ValueId ids = b_.add(TakeMicrobatch(batch_.tokens()), {b_.read(ids_)});
    table_ = embedding_table();
    if (c_.tie_embeddings && mesh_.pp > 1) b_.state(table_).tie = Tie::kOwner;
    return embed(ids, table_);
  }

  void head(const Stage& stage, ValueId x, LlamaForward& forward) {
    b_.set_scope("head");
    const ValueId labels = b_.add(TakeMicrobatch(batch_.tokens()), {b_.read(labels_)});
    x = final_norm(x);
    forward.logits = logits(x, head_weight(stage));
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

  ValueId attend(int64_t, ValueId queries, ValueId keys, ValueId v) override {
    const ValueId q = b_.add(rope_, {queries}), k = b_.add(rope_, {keys});
    return b_.add_many(Attention(batch_.seq, c_.head_dim), {q, k, v}).at(0);
  }

  // A tied head reads the embedding's storage, but accumulates its own gradient: two uses, two sums, added once a
  // step. On another rank than the embedding it is a copy, which the epilogue keeps equal.
  StateId head_weight(const Stage& stage) {
    if (!c_.tie_embeddings) return untied_head();
    if (stage.count > 1) {
      const StateId copy = embedding_table();
      b_.state(copy).tie = Tie::kCopy;
      return copy;
    }
    State tied = b_.graph()[table_];
    tied.name = "lm_head.weight";
    tied.storage = table_;
    return b_.add_state(std::move(tied));
  }

  StateId scalar(const char* name, DType dtype, Shape shape = {1}) {
    return b_.add_state({.name = name, .type = {dtype, std::move(shape)}, .role = StateRole::kScalar});
  }

  // Each dp rank counts its own samples; all divide by the sum.
  void count_valid_tokens(StateId total) {
    if (mesh_.dp == 1) return b_.write(CountValid(), {b_.read(labels_)}, {total});
    TensorType own{DType::kI64, {1}};
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
    const StateId valid = scalar(step_state::kValidTokens, DType::kI64);
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

  const BatchShape batch_;
  const std::span<const Stage> chunks_;
  Rope rope_;
  StateId ids_, labels_, loss_sum_, table_;
};

}  // namespace

LlamaForward build_llama(const LlamaConfig& config, const BatchShape& batch, const Mesh& mesh,
                         bool sequence_parallel, std::span<const Stage> chunks) {
  const Stage whole{.index = 0, .count = 1, .first_layer = 0, .end_layer = config.layers};
  if (chunks.empty()) chunks = std::span(&whole, 1);
  return LlamaBuilder(config, batch, mesh, sequence_parallel, chunks).build();
}

LayerCosts layer_costs(const LlamaConfig& c, int64_t seq) {
  const double hidden = static_cast<double>(c.hidden);
  const double matrices = static_cast<double>((2 * c.heads + 2 * c.kv_heads) * c.head_dim + 3 * c.ffn) * hidden;
  const double attention = static_cast<double>(c.heads * c.head_dim * seq);
  // Looking up, adding and updating rows is all memory: a core does some 30 multiply-adds in
  // the time of one element.
  constexpr double kOpsPerElement = 30;
  return {.layer = matrices + attention,
          .embedding = 2 * kOpsPerElement * hidden,
          .head = hidden * static_cast<double>(c.vocab)};
}

LayerCosts parameters_of_parts(const LlamaConfig& c) {
  const double table = static_cast<double>(c.vocab * c.hidden);
  return {.layer = (static_cast<double>(matmul_parameters(c)) - table) / static_cast<double>(c.layers),
          .embedding = table,
          .head = table};
}

}  // namespace trine
