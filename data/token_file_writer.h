// Writes Megatron token files in one pass over a stream of unknown length, then splits off its end for validation.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <span>

#include "base/atomic_file.h"

namespace trine {

// PREFIX-train.{bin,idx} and PREFIX-valid.{bin,idx}: u16 tokens where the vocabulary allows it (<= 65535), else
// i32. Memory is constant: tokens go to the .bin, document lengths (4 bytes each) to a temporary file beside it.
class TokenFileWriter {
 public:
  // A document of more than `max_sequence` tokens becomes several in the index, whose lengths are i32.
  TokenFileWriter(std::filesystem::path prefix, int64_t vocab_size,
                  int64_t max_sequence = std::numeric_limits<int32_t>::max());
  // REQUIRES: 0 <= id < vocab_size.
  void append(std::span<const int32_t> ids);
  void end_document();  // does nothing if no token was added since the last one

  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_documents() const { return num_documents_; }

  struct Split {
    int64_t train_tokens, valid_tokens;
  };
  // Cuts at num_train_tokens() (token_source.h), so that the same fraction gives the same split as the trainer's
  // --valid-fraction: by tokens, and a document that lies across the cut continues in the validation part. Without
  // validation tokens an older PREFIX-valid is removed. `before_publish` runs when everything is durable under
  // temporary names; what it throws leaves nothing behind. DataError if there is no token, or for the disk.
  Split finish(double valid_fraction, const std::function<void(Split)>& before_publish = {});

 private:
  void write_index(AtomicFile& index, int64_t begin, int64_t end) const;

  std::filesystem::path prefix_;
  int64_t vocab_size_, max_sequence_, num_tokens_ = 0, num_documents_ = 0, sequence_ = 0;
  int token_bytes_;
  AtomicFile tokens_, lengths_;
};

}  // namespace trine
