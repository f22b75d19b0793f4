// JSON that is too large to hold, read token by token.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace trine {

// Reads one JSON text from first to last byte. Errors are JsonErrors that name the byte: bad syntax, more than
// kMaxJsonDepth levels, a string or number of more than 16 MiB, an end that comes too early. Keys may repeat: who
// cares must look. Memory: a block, or the longest string.
class JsonStream {
 public:
  // Puts the next bytes of the text into the span and returns how many; 0 at the end.
  using Fill = std::function<size_t(std::span<char>)>;
  enum class Token : uint8_t {
    kBeginObject,
    kEndObject,
    kBeginArray,
    kEndArray,
    kKey,
    kString,
    kNumber,
    kLiteral,  // true, false, null
    kEnd,
  };

  explicit JsonStream(Fill fill);
  Token next();
  // Of the token that next() returned, until it is called again: a key or string without quotes and escapes; a
  // number or literal as it stands.
  std::string_view text() const { return text_; }
  // After a value's first token: goes to its last one.
  void skip(Token first);
  int64_t position() const { return before_ + (at_ - buffer_.data()); }  // bytes read

 private:
  enum class Expect : uint8_t { kValue, kFirstValueOrEnd, kFirstKeyOrEnd, kCommaOrEnd, kDone };

  [[noreturn]] void fail(std::string_view what) const;
  bool refill();  // keeps what begins at token_; false at the end of the text
  char peek();    // the next byte, 0 at the end
  char skip_space();
  Token value(char first);
  Token close(char bracket);
  void read_string();
  void read_escape();
  uint32_t read_hex();
  void read_number();
  void read_literal(std::string_view word);

  Fill fill_;
  std::vector<char> buffer_;
  const char* at_;               // the next byte
  const char* end_;              // of what the buffer holds
  const char* token_ = nullptr;  // where the token begins that is being read
  int64_t before_ = 0;           // bytes of the text before the buffer
  std::string open_;             // '{' and '[' that are not closed yet
  Expect expect_ = Expect::kValue;
  std::string_view text_;
  std::string unescaped_;
};

}  // namespace trine
