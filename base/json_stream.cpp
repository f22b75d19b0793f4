#include "base/json_stream.h"

#include <cstring>
#include <fmt/format.h>

namespace trine {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 18, kLongestToken = size_t{1} << 24;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

void append_utf8(std::string& text, uint32_t code) {
  const auto add = [&](uint32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xc0 | code >> 6), add(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    add(0xe0 | code >> 12), add(0x80 | (code >> 6 & 0x3f)), add(0x80 | (code & 0x3f));
  } else {
    add(0xf0 | code >> 18), add(0x80 | (code >> 12 & 0x3f)), add(0x80 | (code >> 6 & 0x3f)),
        add(0x80 | (code & 0x3f));
  }
}

}  // namespace

JsonStream::JsonStream(Fill fill) : fill_(std::move(fill)), buffer_(kBlockBytes) { at_ = end_ = buffer_.data(); }

void JsonStream::fail(std::string_view what) const {
  throw JsonError(fmt::format("byte {}: {}", position(), what));
}

bool JsonStream::refill() {
  const char* const keep = token_ ? token_ : at_;
  const auto kept = static_cast<size_t>(end_ - keep), read = static_cast<size_t>(at_ - keep);
  before_ += keep - buffer_.data();
  if (kept > kLongestToken) fail("a string or number of more than 16 MiB");
  std::memmove(buffer_.data(), keep, kept);
  if (kept == buffer_.size()) buffer_.resize(2 * buffer_.size());
  const size_t got = fill_(std::span(buffer_).subspan(kept));
  at_ = buffer_.data() + read, end_ = buffer_.data() + kept + got;
  if (token_) token_ = buffer_.data();
  return got > 0;
}

char JsonStream::peek() { return at_ != end_ || refill() ? *at_ : '\0'; }

char JsonStream::skip_space() {
  while (true) {
    for (; at_ != end_; ++at_)
      if (*at_ != ' ' && *at_ != '\n' && *at_ != '\t' && *at_ != '\r') return *at_;
    if (!refill()) return '\0';
  }
}

JsonStream::Token JsonStream::next() {
  char c = skip_space();
  const bool ended = at_ == end_;
  if (expect_ == Expect::kDone) {
    if (!ended) fail("more text after the end");
    return Token::kEnd;
  }
  if (ended) fail("the text ends too early");
  if (expect_ == Expect::kCommaOrEnd) {
    if (c == '}' || c == ']') return close(c);
    if (c != ',') fail(fmt::format("'{}' where a comma or the end of the list should be", c));
    ++at_;
    c = skip_space();
    if (at_ == end_) fail("the text ends too early");
  } else if (expect_ != Expect::kValue && (c == '}' || c == ']')) {
    return close(c);
  }
  const bool in_object = !open_.empty() && open_.back() == '{' && expect_ != Expect::kValue;
  if (!in_object) return value(c);
  if (c != '"') fail("no key where one should be");
  read_string();
  token_ = text_.data() == unescaped_.data() ? nullptr : text_.data();  // the key's bytes stay while ':' is sought
  const size_t length = text_.size();
  if (skip_space() != ':' || at_ == end_) fail("no ':' after a key");
  ++at_;
  if (token_) text_ = {token_, length};
  token_ = nullptr;
  expect_ = Expect::kValue;
  return Token::kKey;
}

JsonStream::Token JsonStream::value(char first) {
  if (first == '{' || first == '[') {
    if (open_.size() == kMaxJsonDepth) fail(fmt::format("more than {} levels", kMaxJsonDepth));
    open_ += first;
    ++at_;
    expect_ = first == '{' ? Expect::kFirstKeyOrEnd : Expect::kFirstValueOrEnd;
    return first == '{' ? Token::kBeginObject : Token::kBeginArray;
  }
  expect_ = open_.empty() ? Expect::kDone : Expect::kCommaOrEnd;
  if (first == '"') return read_string(), Token::kString;
  if (first == '-' || is_digit(first)) return read_number(), Token::kNumber;
  if (first == 't') return read_literal("true"), Token::kLiteral;
  if (first == 'f') return read_literal("false"), Token::kLiteral;
  if (first == 'n') return read_literal("null"), Token::kLiteral;
  fail("no value where one should be");
}

JsonStream::Token JsonStream::close(char bracket) {
  if (open_.empty() || (bracket == '}') != (open_.back() == '{')) fail(fmt::format("'{}' closes nothing", bracket));
  open_.pop_back();
  ++at_;
  expect_ = open_.empty() ? Expect::kDone : Expect::kCommaOrEnd;
  return bracket == '}' ? Token::kEndObject : Token::kEndArray;
}

void JsonStream::skip(Token first) {
  if (first != Token::kBeginObject && first != Token::kBeginArray) return;
  for (int depth = 1; depth > 0;) {
    const Token token = next();
    if (token == Token::kBeginObject || token == Token::kBeginArray) ++depth;
    if (token == Token::kEndObject || token == Token::kEndArray) --depth;
  }
}

// Without escapes, a string is read where it lies.
void JsonStream::read_string() {
  token_ = ++at_;
  bool escaped = false;
  while (true) {
    if (at_ == end_ && !refill()) fail("the text ends in a string");
    const char c = *at_;
    if (c == '"') break;
    if (static_cast<unsigned char>(c) < 0x20) fail("a control character in a string");
    if (c != '\\') {
      if (escaped) unescaped_ += c;
      ++at_;
      continue;
    }
    if (!escaped) unescaped_.assign(token_, at_);
    escaped = true;
    ++at_;
    read_escape();
  }
  text_ = escaped ? std::string_view(unescaped_) : std::string_view(token_, static_cast<size_t>(at_ - token_));
  ++at_;
  token_ = nullptr;
}

void JsonStream::read_escape() {
  const char c = peek();
  constexpr std::string_view kShort = "\"\\/bfnrt", kMeaning = "\"\\/\b\f\n\r\t";
  ++at_;
  if (const size_t i = kShort.find(c); c != '\0' && i != kShort.npos) {
    unescaped_ += kMeaning[i];
    return;
  }
  if (c != 'u') --at_, fail("an unknown escape in a string");
  uint32_t code = read_hex();
  if (code >= 0xd800 && code < 0xdc00) {
    if (peek() != '\\' || (++at_, peek() != 'u')) fail("half of a surrogate pair");
    ++at_;
    const uint32_t low = read_hex();
    if (low < 0xdc00 || low > 0xdfff) fail("half of a surrogate pair");
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  } else if (code >= 0xdc00 && code <= 0xdfff) {
    fail("half of a surrogate pair");
  }
  append_utf8(unescaped_, code);
}

uint32_t JsonStream::read_hex() {
  uint32_t code = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = peek(), lower = static_cast<char>(c | 0x20);
    if (!is_digit(c) && (lower < 'a' || lower > 'f')) fail("\\u needs four hexadecimal digits");
    code = code * 16 + static_cast<uint32_t>(is_digit(c) ? c - '0' : lower - 'a' + 10);
    ++at_;
  }
  return code;
}

void JsonStream::read_number() {
  token_ = at_;
  const auto digits = [&] {
    if (!is_digit(peek())) fail("a number without digits");
    while (is_digit(peek())) ++at_;
  };
  if (*at_ == '-') ++at_;
  if (peek() == '0')
    ++at_;
  else
    digits();
  if (peek() == '.') ++at_, digits();
  if ((peek() | 0x20) == 'e') {
    ++at_;
    if (peek() == '+' || peek() == '-') ++at_;
    digits();
  }
  text_ = {token_, static_cast<size_t>(at_ - token_)};
  token_ = nullptr;
}

void JsonStream::read_literal(std::string_view word) {
  for (const char c : word) {
    if (peek() != c) fail(fmt::format("no value where one should be (\"{}\"?)", word));
    ++at_;
  }
  text_ = word;
}

}  // namespace trine
