// Where tokens come from: one long sequence of ids that can be read anywhere. Everything after this file (sampler,
// trainer) sees tokens only through this interface.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace trine {

class TokenSource {
 public:
  virtual ~TokenSource() = default;
  virtual int64_t size() const = 0;  // tokens
  // Writes tokens [begin, begin + count) to `out`. Every id is in [0, vocabulary), else DataError with file and
  // offset. May be called from several threads. REQUIRES: 0 <= begin, begin + count <= size().
  virtual void read(int64_t begin, int64_t count, int32_t* out) const = 0;
  virtual std::string describe() const = 0;  // "jargon.txt", "corpus-train.bin + 3 more"
};
using TokenSourcePtr = std::shared_ptr<const TokenSource>;

// Tokens that fit in memory. REQUIRES: the ids were checked by whoever made them.
class MemoryTokens final : public TokenSource {
 public:
  MemoryTokens(std::vector<int32_t> tokens, std::string name)
      : tokens_(std::move(tokens)), name_(std::move(name)) {}
  int64_t size() const override { return static_cast<int64_t>(tokens_.size()); }
  void read(int64_t begin, int64_t count, int32_t* out) const override;
  std::string describe() const override { return name_; }

 private:
  std::vector<int32_t> tokens_;
  std::string name_;
};

// Uniform random ids for benchmarks: token i is a pure function of (seed, i).
class RandomTokens final : public TokenSource {
 public:
  RandomTokens(int32_t vocab_size, uint64_t seed, int64_t size = int64_t{1} << 40);
  int64_t size() const override { return size_; }
  void read(int64_t begin, int64_t count, int32_t* out) const override;
  std::string describe() const override { return "random tokens"; }

 private:
  uint64_t vocab_size_, seed_;
  int64_t size_;
};

// Tokens [begin, end) of another source.
class TokenSlice final : public TokenSource {
 public:
  TokenSlice(TokenSourcePtr source, int64_t begin, int64_t end);
  int64_t size() const override { return end_ - begin_; }
  void read(int64_t begin, int64_t count, int32_t* out) const override;
  std::string describe() const override;

 private:
  TokenSourcePtr source_;
  int64_t begin_, end_;
};

// How many of `num_tokens` stay for training when the last `valid_fraction` of them validate: both the trainer's
// --valid-fraction and prepare_data cut here. REQUIRES: 0 <= valid_fraction < 1.
int64_t num_train_tokens(int64_t num_tokens, double valid_fraction);

}  // namespace trine
