#include "data/sampler.h"

#include <algorithm>

#include "base/error.h"
#include "base/rng.h"
#include "base/text.h"

namespace trine {

Sampler::Sampler(int64_t num_tokens, int64_t seq, uint64_t seed, bool shuffle)
    : seq_(seq), samples_per_epoch_(0), seed_(seed), shuffle_(shuffle) {
  TRINE_CHECK(seq > 0, "seq {}", seq);
  if (num_tokens < seq + 1) {
    throw DataError(
        fmt::format("[data] {} tokens, but one sample needs --seq + 1 = {}. Give more data or lower --seq.",
                    format_count(num_tokens), format_count(seq + 1)));
  }
  samples_per_epoch_ = (num_tokens - 1) / seq;
}

int64_t Sampler::first_token(int64_t sample) const {
  TRINE_CHECK(sample >= 0, "sample {}", sample);
  const int64_t epoch = sample / samples_per_epoch_, index = sample % samples_per_epoch_;
  if (!shuffle_) return index * seq_;
  // Named streams, not stream + epoch: permute() uses the streams next to its own for its rounds.
  return permute(index, samples_per_epoch_, seed_, stream_of(fmt::format("data epoch {}", epoch))) * seq_;
}

void BatchReader::fill(int64_t first_sample, int64_t num_rows, int32_t* ids, int32_t* labels) const {
  const int64_t seq = sampler_.seq();
  for (int64_t row = 0; row < num_rows; ++row, ids += seq, labels += seq) {
    const int64_t begin = sampler_.first_token(first_sample + row);
    source_->read(begin, seq, ids);
    std::copy(ids + 1, ids + seq, labels);
    source_->read(begin + seq, 1, labels + seq - 1);
  }
}

}  // namespace trine
