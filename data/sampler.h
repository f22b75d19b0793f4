// Which tokens a training step sees: a pure function of (seed, global sample index), never of rank or layout.
#pragma once

#include <cstdint>

#include "data/token_source.h"

namespace trine {

// Sample i of an epoch is tokens [i*seq, (i+1)*seq], both ends included: seq + 1 tokens, neighbours share one. An
// epoch has floor((num_tokens - 1) / seq) samples. The global sample g is sample g mod S of epoch g / S, or,
// shuffled, the one that a pseudo-random permutation keyed by (seed, epoch) puts there. Step k (from 0) takes
// samples [k*global_batch, (k+1)*global_batch), so that a batch may cross epochs.
class Sampler {
 public:
  // DataError if there are fewer than seq + 1 tokens.
  Sampler(int64_t num_tokens, int64_t seq, uint64_t seed, bool shuffle);
  int64_t samples_per_epoch() const { return samples_per_epoch_; }
  int64_t seq() const { return seq_; }
  // Where global sample `sample` begins in the token stream. REQUIRES: sample >= 0.
  int64_t first_token(int64_t sample) const;

 private:
  int64_t seq_, samples_per_epoch_;
  uint64_t seed_;
  bool shuffle_;
};

// Cuts samples into the inputs of a model and their targets.
class BatchReader {
 public:
  BatchReader(TokenSourcePtr source, int64_t seq, uint64_t seed, bool shuffle)
      : source_(std::move(source)), sampler_(source_->size(), seq, seed, shuffle) {}
  const Sampler& sampler() const { return sampler_; }
  const TokenSource& source() const { return *source_; }
  // Global samples [first_sample, first_sample + num_rows): ids and labels, each [num_rows, seq]; a label is the
  // token after its id. May be called from several threads.
  void fill(int64_t first_sample, int64_t num_rows, int32_t* ids, int32_t* labels) const;

 private:
  TokenSourcePtr source_;
  Sampler sampler_;
};

}  // namespace trine
