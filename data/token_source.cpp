#include "data/token_source.h"

#include <algorithm>
#include <cmath>
#include <fmt/core.h>

#include "base/error.h"
#include "base/rng.h"

namespace trine {
namespace {
void check_range(const TokenSource& source, int64_t begin, int64_t count) {
  TRINE_CHECK(0 <= begin && 0 <= count && begin <= source.size() && count <= source.size() - begin,
              "tokens [{}, {} + {}) of {}", begin, begin, count, source.size());
}
}  // namespace

void MemoryTokens::read(int64_t begin, int64_t count, int32_t* out) const {
  check_range(*this, begin, count);
  std::copy_n(tokens_.begin() + begin, count, out);
}

RandomTokens::RandomTokens(int32_t vocab_size, uint64_t seed, int64_t size)
    : vocab_size_(static_cast<uint64_t>(vocab_size)), seed_(seed), size_(size) {
  TRINE_CHECK(vocab_size > 0 && size > 0, "vocabulary {}, size {}", vocab_size, size);
}

void RandomTokens::read(int64_t begin, int64_t count, int32_t* out) const {
  check_range(*this, begin, count);
  static const uint64_t stream = stream_of("random tokens");
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t bits = random_u64(seed_, stream, static_cast<uint64_t>(begin + i)) >> 32;
    out[i] =
        static_cast<int32_t>(bits * vocab_size_ >> 32);  // scales [0, 2^32) to [0, vocabulary) without a division
  }
}

TokenSlice::TokenSlice(TokenSourcePtr source, int64_t begin, int64_t end)
    : source_(std::move(source)), begin_(begin), end_(end) {
  TRINE_CHECK(0 <= begin && begin <= end && end <= source_->size(), "slice [{}, {}) of {}", begin, end,
              source_->size());
}

void TokenSlice::read(int64_t begin, int64_t count, int32_t* out) const {
  check_range(*this, begin, count);
  source_->read(begin_ + begin, count, out);
}

std::string TokenSlice::describe() const { return fmt::format("{} [{}, {})", source_->describe(), begin_, end_); }

int64_t num_train_tokens(int64_t num_tokens, double valid_fraction) {
  TRINE_CHECK(valid_fraction >= 0 && valid_fraction < 1, "fraction {}", valid_fraction);
  return num_tokens - static_cast<int64_t>(std::floor(static_cast<double>(num_tokens) * valid_fraction));
}

}  // namespace trine
