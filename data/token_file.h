// Token files of Megatron and llm.c, read as their tokens are asked for. A file is recognised by its contents, not
// by its name.
//
// Megatron, two files (megatron/core/datasets/indexed_dataset.py), little endian, packed:
//   .bin  the tokens of all sequences, one after another
//   .idx  "MMIDIDX\0\0" | u64 version = 1 | u8 dtype (4 = i32, 5 = i64, 8 = u16) | u64 num_sequences S |
//         u64 num_document_indices D | i32 length[S] | i64 pointer[S] (bytes) |
//         i64 document_index[D] (of sequences)
// llm.c, one file (dev/data/data_common.py): 256 i32 (magic, version, num_tokens, 0 ...), then the tokens:
//   magic 20240520, version 1: u16        magic 20240801, version 7: u32
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "base/input_file.h"
#include "data/token_source.h"

namespace trine {

enum class TokenType : uint8_t { kU16, kU32, kI32, kI64 };
int64_t size_bytes(TokenType type);

class TokenFile {
 public:
  // `path`: PREFIX, PREFIX.bin or PREFIX.idx of a Megatron pair, or a file of llm.c. The header and the whole index
  // are checked (sizes, order, that sequences lie side by side):
  // DataError with file, what was found and what is needed.
  explicit TokenFile(const std::filesystem::path& path);

  int64_t size() const { return size_; }  // tokens
  int64_t num_documents() const { return num_documents_; }
  TokenType type() const { return type_; }
  const std::filesystem::path& path() const { return bin_->path(); }  // of the file with the tokens

  // Tokens [begin, begin + count). DataError with the byte offset if an id is not in [0, vocab_size), and if the
  // file has been cut.
  void read(int64_t begin, int64_t count, int64_t vocab_size, int32_t* out) const;
  void check_all(int64_t vocab_size) const;

 private:
  void open_megatron(const std::filesystem::path& index, const std::filesystem::path& bin);
  void open_llm_c(const std::filesystem::path& bin);

  std::optional<InputFile> bin_;
  int64_t data_offset_ = 0, size_ = 0, num_documents_ = 0;
  TokenType type_ = TokenType::kU16;
};

// Several files as one stream, in the given order. Files below 64 MiB are checked whole when the stream is opened;
// of larger ones the tokens are checked as they are read.
class TokenStream final : public TokenSource {
 public:
  TokenStream(const std::vector<std::filesystem::path>& paths, int64_t vocab_size);
  int64_t size() const override { return begins_.back(); }
  void read(int64_t begin, int64_t count, int32_t* out) const override;
  std::string describe() const override;

 private:
  std::vector<TokenFile> files_;
  std::vector<int64_t> begins_ = {0};  // first token of each file, and the total
  int64_t vocab_size_;
};

}  // namespace trine
