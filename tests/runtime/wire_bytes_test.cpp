// What each rank hands to others in a step, counted by the communicators, against the closed form. With n ranks and
// even shards an all-reduce of b bytes is 2 (n - 1) / n b, and reduce-scatter and all-gather half of that each.
#include <gtest/gtest.h>

#include "base/shape.h"
#include "comm/world.h"
#include "ops/optimizer.h"
#include "plan/plan.h"
#include "tests/runtime/local_training.h"

namespace trine {
namespace {

// What one rank sends in one group.
class Sent {
 public:
  Sent(int size, int rank) : size_(size), rank_(rank) {}
  void all_reduce(int64_t count, int64_t bytes, int64_t times = 1) {
    add(reduce(count) + gather(count), bytes, times);
  }
  void reduce_scatter(int64_t count, int64_t bytes, int64_t times = 1) { add(reduce(count), bytes, times); }
  void all_gather(int64_t count, int64_t bytes, int64_t times = 1) { add(gather(count), bytes, times); }
  // The trace tells every rank when this one entered each collective.
  int64_t with_times() const { return bytes_ + 8 * collectives_ * (size_ - 1); }

 private:
  int64_t own(int64_t count) const { return split_size(count, size_, rank_); }
  int64_t reduce(int64_t count) const { return count - own(count); }
  int64_t gather(int64_t count) const { return own(count) * (size_ - 1); }
  void add(int64_t elements, int64_t bytes, int64_t times) {
    if (size_ == 1) return;
    bytes_ += elements * bytes * times;
    collectives_ += times;
  }

  const int size_, rank_;
  int64_t bytes_ = 0, collectives_ = 0;
};

// Parameters that are reduced together: elements of the largest shard, each parameter padded to 256.
struct Bucket {
  int64_t elements = 0;
  bool split_over_tp = true, tied = false;
  bool partial_over_tp = false;  // each tp rank has a part of the gradient
};

class ClosedForm {
 public:
  ClosedForm(const Config& config, Coordinate at)
      : c_(config), m_(config.model), at_(at), tokens_(config.micro_batch * config.seq) {
    for (int chunk = 0; chunk < c_.vpp; ++chunk) stages_.push_back(chunk * c_.pp + at.pp);
    num_stages_ = c_.pp * c_.vpp;
    word_ = static_cast<int64_t>(size_bytes(c_.dtype));
  }

  // By group: world, tp, dp, pp, pipeline.
  std::array<int64_t, 5> bytes(const std::vector<int64_t>& layers_of_stage) {
    layers_ = 0;
    for (int stage : stages_) layers_ += layers_of_stage[static_cast<size_t>(stage)];
    make_buckets();
    activations_over_tp();
    gradients();
    norm_and_loss();
    return {0, tp_.with_times(), dp_.with_times(), pp_.with_times() + states_ + 8 * messages(),
            messages() * share_of_tokens() * m_.hidden * word_};
  }

 private:
  bool first() const { return at_.pp == 0; }
  bool last() const { return at_.pp == c_.pp - 1; }
  int64_t microbatches() const { return c_.global_batch / c_.micro_batch / c_.mesh.dp; }
  int64_t share_of_tokens() const { return c_.sequence_parallel ? split_size(tokens_, c_.tp, at_.tp) : tokens_; }
  // Each stage but the last sends its output, each but the first its input's gradient.
  int64_t messages() const {
    int64_t count = 0;
    for (int stage : stages_) count += (stage + 1 < num_stages_) + (stage > 0);
    return count * microbatches();
  }

  // Per layer 4 all-reduces; with sequence parallelism 6 all-gathers and 4 reduce-scatters. The embedding is left,
  // the head entered; the statistics of the loss are gathered.
  void activations_over_tp() {
    const int64_t m = microbatches(), row = m_.hidden * word_;
    if (c_.sequence_parallel) {
      tp_.all_gather(tokens_, row, m * (6 * layers_ + first() + 2 * last()));
      tp_.reduce_scatter(tokens_, row, m * (4 * layers_ + first() + last()));
    } else {
      tp_.all_reduce(tokens_ * m_.hidden, word_, m * (4 * layers_ + first() + last()));
    }
    if (last()) tp_.all_gather(c_.tp, tokens_ * 3 * 4, m);
  }

  void make_buckets() {
    const int64_t tp = c_.tp, D = m_.hidden, q = m_.heads * m_.head_dim, kv = m_.kv_heads * m_.head_dim;
    const auto rows = [&](int64_t n, int64_t columns) { return round_up(div_up(n, tp) * columns, 256); };
    const bool whole_kv = tp > m_.kv_heads;
    Bucket matrices, norms{.split_over_tp = false, .partial_over_tp = c_.sequence_parallel};
    Bucket kv_weights{.split_over_tp = false, .partial_over_tp = true}, tied{.tied = true};
    const int64_t both_kv = 2 * (whole_kv ? round_up(kv * D, 256) : rows(kv, D));
    (whole_kv ? kv_weights : matrices).elements += layers_ * both_kv;
    matrices.elements += layers_ * (rows(q, D) + rows(m_.ffn, D) * 2);
    matrices.elements +=
        layers_ * round_up(D * div_up(q, tp), 256) + layers_ * round_up(D * div_up(m_.ffn, tp), 256);
    const bool shared = m_.tie_embeddings && c_.pp > 1;
    if (first()) (shared ? tied : matrices).elements += rows(m_.vocab, D);
    if (last() && (shared || !m_.tie_embeddings)) (shared ? tied : matrices).elements += rows(m_.vocab, D);
    norms.elements = (2 * layers_ + last()) * round_up(D, 256);
    for (Bucket bucket : {matrices, norms, kv_weights, tied}) {
      if (bucket.elements == 0) continue;
      bucket.elements = round_up(bucket.elements, c_.zero > 0 ? 256 * c_.mesh.dp : 256);
      buckets_.push_back(bucket);
    }
  }

  // Over dp an all-reduce in f32; with ZeRO a reduce-scatter, and the weights come back in the compute type. A tied
  // embedding's last stage sends what it has summed to the first and gets the weights.
  void gradients() {
    for (const Bucket& bucket : buckets_) {
      if (bucket.partial_over_tp) tp_.all_reduce(bucket.elements, 4);
      const bool copy = bucket.tied && last(), owner = bucket.tied && first();
      if (c_.zero > 0) {
        dp_.reduce_scatter(bucket.elements, 4);
        if (!copy) dp_.all_gather(bucket.elements, word_);
      } else {
        dp_.all_reduce(bucket.elements, 4);
      }
      if (copy) states_ += bucket.elements / (c_.zero > 0 ? c_.mesh.dp : 1) * 4;
      if (owner) states_ += bucket.elements * word_;
    }
  }

  // Bins of 64 bits for what is split over tp and for what is not; the loss, and the count of tokens.
  void norm_and_loss() {
    for (const bool split : {true, false}) {
      if (c_.tp == 1 && split) continue;
      if (split) tp_.all_reduce(SquaredNorm::kNumBins, 8);
      if (c_.zero > 0) dp_.all_reduce(SquaredNorm::kNumBins, 8);
      pp_.all_reduce(SquaredNorm::kNumBins, 8);
    }
    dp_.all_reduce(1, 4);
    dp_.all_reduce(1, 8);
    pp_.all_reduce(1, 4);
  }

  const Config& c_;
  const LlamaConfig& m_;
  const Coordinate at_;
  const int64_t tokens_;
  int64_t layers_ = 0, word_ = 4, states_ = 0;
  int num_stages_ = 1;
  std::vector<int> stages_;
  std::vector<Bucket> buckets_;
  Sent tp_{c_.tp, at_.tp}, dp_{c_.mesh.dp, at_.dp}, pp_{c_.pp, at_.pp};
};

struct Case {
  std::string name;
  int ranks;
  std::string flags;
};

class WireBytes : public testing::TestWithParam<Case> {};

TEST_P(WireBytes, AreThoseOfTheClosedForm) {
  const Config config = config_of(GetParam().ranks,
                                  "--layers 8 --hidden 16 --heads 4 --head-dim 4 --ffn 22 --vocab 67 --seq 7 "
                                  "--global-batch 12 --steps 3 --threads 1 " +
                                      GetParam().flags);
  std::vector<int64_t> layers;
  for (const Stage& stage : stages_of(config, config.pp * config.vpp))
    layers.push_back(stage.end_layer - stage.first_layer);
  const TrainingRun run = train_locally(config, 2, random_batches(config));
  for (int rank = 0; rank < config.mesh.num_ranks(); ++rank) {
    const auto want = ClosedForm(config, config.mesh.coordinate(rank)).bytes(layers);
    for (Group group : kGroups)
      EXPECT_EQ(run.wire_bytes[static_cast<size_t>(rank) * kGroups.size() + static_cast<size_t>(group)],
                want[static_cast<size_t>(group)])
          << "rank " << rank << ", group " << name(group);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, WireBytes,
    testing::Values(Case{"one", 1, "--kv-heads 2 --micro-batch 2"},
                    Case{"tp2", 2, "--tp 2 --sp off --kv-heads 2 --micro-batch 2 --dtype f32"},
                    Case{"tp2_sp", 2, "--tp 2 --kv-heads 2 --micro-batch 2"},
                    Case{"tp4_sp_kv1", 4, "--tp 4 --kv-heads 1 --micro-batch 1"},
                    Case{"tp4_kv1", 4, "--tp 4 --sp off --kv-heads 1 --micro-batch 1 --dtype f32"},
                    Case{"dp3", 3, "--zero 0 --kv-heads 2 --micro-batch 1"},
                    Case{"dp3_zero", 3, "--zero 1 --kv-heads 2 --micro-batch 1"},
                    Case{"pp4", 4, "--pp 4 --kv-heads 2 --micro-batch 1"},
                    Case{"pp2_interleaved", 2,
                         "--pp 2 --schedule interleaved --vpp 4 --kv-heads 2 --micro-batch 2"},
                    Case{"tied", 1, "--kv-heads 2 --micro-batch 2 --tie-embeddings on"},
                    Case{"pp2_dp2_tied", 4, "--pp 2 --zero 0 --kv-heads 2 --micro-batch 1 --tie-embeddings on"},
                    Case{"tp2_sp_pp2_dp2_zero_tied", 8,
                         "--tp 2 --pp 2 --zero 1 --kv-heads 2 --micro-batch 3 --tie-embeddings on"},
                    Case{"tp2_pp4_dp2_zero_bubble", 16,
                         "--tp 2 --pp 4 --sp off --schedule zero-bubble --kv-heads 1 --micro-batch 2"}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace trine
