#include "data/token_file_writer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/input_file.h"
#include "data/token_source.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

fs::path suffixed(fs::path prefix, const char* suffix) { return prefix += suffix; }

template <typename T>
void put(AtomicFile& file, T value) {
  file.write(&value, sizeof value);
}

// Calls f(length) for the part of each sequence that lies in tokens [begin, end).
template <typename F>
void for_each_length(const InputFile& file, int64_t begin, int64_t end, F f) {
  const int64_t count = file.size() / static_cast<int64_t>(sizeof(int32_t));
  NumbersInFile<int32_t> lengths(file, 0, count);
  int64_t at = 0;
  for (int64_t i = 0; i < count && at < end; ++i) {
    const int32_t length = lengths[i];
    const int64_t inside = std::min(end, at + length) - std::max(begin, at);
    if (inside > 0) f(static_cast<int32_t>(inside));
    at += length;
  }
}

}  // namespace

TokenFileWriter::TokenFileWriter(fs::path prefix, int64_t vocab_size, int64_t max_sequence)
    : prefix_(std::move(prefix)),
      vocab_size_(vocab_size),
      max_sequence_(max_sequence),
      token_bytes_(vocab_size <= 65535 ? 2 : 4),
      tokens_(suffixed(prefix_, "-train.bin")),
      lengths_(suffixed(prefix_, "-lengths")) {
  TRINE_CHECK(vocab_size > 0 && max_sequence > 0);
}

void TokenFileWriter::append(std::span<const int32_t> ids) {
  for (int32_t id : ids) {
    TRINE_CHECK(0 <= id && id < vocab_size_, "token {} of a vocabulary of {}", id, vocab_size_);
    if (sequence_ == max_sequence_) put(lengths_, static_cast<int32_t>(std::exchange(sequence_, 0)));
    if (token_bytes_ == 2) {
      put(tokens_, static_cast<uint16_t>(id));
    } else {
      put(tokens_, id);
    }
    ++sequence_, ++num_tokens_;
  }
}

void TokenFileWriter::end_document() {
  if (sequence_ == 0) return;
  put(lengths_, static_cast<int32_t>(std::exchange(sequence_, 0)));
  ++num_documents_;
}

void TokenFileWriter::write_index(AtomicFile& index, int64_t begin, int64_t end) const {
  const InputFile lengths(lengths_.temporary_path());
  int64_t count = 0, pointer = 0;
  for_each_length(lengths, begin, end, [&](int32_t) { ++count; });
  index.write(std::string_view("MMIDIDX\0\0", 9));
  put(index, uint64_t{1});
  put(index, static_cast<uint8_t>(token_bytes_ == 2 ? 8 : 4));
  put(index, count);
  put(index, count + 1);
  for_each_length(lengths, begin, end, [&](int32_t length) { put(index, length); });
  for_each_length(lengths, begin, end, [&](int32_t length) {
    put(index, pointer);
    pointer += int64_t{length} * token_bytes_;
  });
  for (int64_t document = 0; document <= count; ++document) put(index, document);
}

TokenFileWriter::Split TokenFileWriter::finish(double valid_fraction,
                                               const std::function<void(Split)>& before_publish) {
  end_document();
  if (num_tokens_ == 0) throw DataError("[data] the text is empty, need at least one character. Give more files.");
  const int64_t cut = num_train_tokens(num_tokens_, valid_fraction);
  const Split split{cut, num_tokens_ - cut};
  tokens_.flush();
  lengths_.flush();

  const fs::path valid_bin_path = suffixed(prefix_, "-valid.bin"), valid_idx_path = suffixed(prefix_, "-valid.idx");
  std::vector<AtomicFile> files;
  files.emplace_back(suffixed(prefix_, "-train.idx"));
  write_index(files.back(), 0, cut);
  if (split.valid_tokens > 0) {
    AtomicFile& valid = files.emplace_back(valid_bin_path);
    const InputFile all(tokens_.temporary_path());
    all.read_blocks(cut * token_bytes_, all.size(), [&](auto block) { valid.write(block.data(), block.size()); });
    write_index(files.emplace_back(valid_idx_path), cut, num_tokens_);
    tokens_.truncate(cut * token_bytes_);
  }
  tokens_.sync();
  for (AtomicFile& file : files) file.sync();
  if (before_publish) before_publish(split);

  // The index of the training part comes first: it tells the next prepare_data that the others are token files.
  files.front().publish();
  tokens_.publish();
  for (size_t i = 1; i < files.size(); ++i) files[i].publish();
  if (split.valid_tokens == 0) {
    std::error_code ignored;
    fs::remove(valid_bin_path, ignored);
    fs::remove(valid_idx_path, ignored);
  }
  return split;
}

}  // namespace trine
