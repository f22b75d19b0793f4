// Text as its tokens come, for a terminal.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/tokenizer.h"

namespace trine {

// Whole characters only: the bytes of one that is not complete wait for the next token. A token's text may depend
// on the ones before it (the space in front of a SentencePiece word), so a few of them are decoded again with it.
class TextStream {
 public:
  // `before`: the tokens that the text follows. The tokenizer outlives the stream.
  TextStream(const Tokenizer& tokenizer, std::span<const int32_t> before);

  std::string add(int32_t id);  // the text that is new
  std::string finish();         // what still waits

 private:
  void start_window(std::span<const int32_t> ids);

  const Tokenizer& tokenizer_;
  std::vector<int32_t> window_;
  size_t given_ = 0;  // bytes of the window's text
};

}  // namespace trine
