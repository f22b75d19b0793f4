#include "data/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <array>
#include <pcre2.h>

#include "base/error.h"

namespace trine {
namespace {

std::string reason(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

template <typename T, void (*release)(T*)>
struct Releaser {
  void operator()(T* handle) const { release(handle); }
};
template <typename T, void (*release)(T*)>
using Handle = std::unique_ptr<T, Releaser<T, release>>;

// PCRE2 counts U+180E as white space, Unicode and Oniguruma do not; its \h is horizontal space.
std::string for_pcre2(const std::string& pattern) {
  const std::string space = R"(\p{Z}\t-\r\x{85})", hex = "0-9A-Fa-f";
  std::string out;
  bool in_class = false;
  for (size_t at = 0; at < pattern.size(); ++at) {
    const char c = pattern[at];
    if (c == '[' && !in_class) {
      in_class = true;
      if (pattern.compare(at, 2, "[^") == 0) ++at;
      out += pattern.compare(at, 1, "^") == 0 ? "[^" : "[";
      if (pattern.compare(at + 1, 1, "]") == 0) out += ']', ++at;  // a literal one
      continue;
    }
    if (c == ']') in_class = false;
    if (c != '\\' || at + 1 == pattern.size()) {
      out += c;
      continue;
    }
    const char kind = pattern[++at];
    const std::string& members = kind == 's' ? space : hex;
    if (kind == 's' || kind == 'h')
      out += in_class ? members : "[" + members + "]";
    else if (kind == 'S' && !in_class)
      out += "[^" + space + "]";
    else
      out += {'\\', kind};
  }
  return out;
}

bool may_look_back(std::string_view pattern) {
  for (size_t at = 0; at < pattern.size(); ++at) {
    if (pattern[at] == '^' && (at == 0 || pattern[at - 1] != '[')) return true;
    if (pattern.substr(at).starts_with("(?<")) return true;
    if (pattern[at] != '\\' || ++at == pattern.size()) continue;
    if (std::string_view("bBAGKXyY").find(pattern[at]) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace

struct Regex::Handles {
  Handle<pcre2_code, pcre2_code_free> code;
  std::string where;
};

Regex::Regex(Regex&&) noexcept = default;
Regex::~Regex() = default;

Regex::Regex(const std::string& pattern, const std::string& where) : handles_(std::make_unique<Handles>()) {
  int error = 0;
  PCRE2_SIZE at = 0;
  handles_->where = where;
  looks_back_ = may_look_back(pattern);
  const std::string translated = for_pcre2(pattern);
  handles_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &at, nullptr));
  if (!handles_->code) {
    throw DataError(
        fmt::format("[tokenizer] {}: {} at character {} of the pattern {}. "
                    "Only patterns that PCRE2 knows are supported.",
                    where, reason(error), at, translated));
  }
  pcre2_jit_compile(
      handles_->code.get(),
      PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);  // where it is unavailable, matching is only slower
}

std::optional<Regex::Match> Regex::find(std::string_view text, size_t from) const { return find(text, from, 0); }

std::optional<Regex::Match> Regex::find_settled(std::string_view text, size_t from) const {
  return find(text, from, PCRE2_PARTIAL_HARD);
}

std::optional<Regex::Match> Regex::find(std::string_view text, size_t from, unsigned options) const {
  // Match data per call keeps find() const and thread-safe; its cost is far below the match's.
  const Handle<pcre2_match_data, pcre2_match_data_free> data(
      pcre2_match_data_create_from_pattern(handles_->code.get(), nullptr));
  if (!data) throw OutOfMemoryError(fmt::format("[tokenizer] {}: no memory to match a pattern.", handles_->where));
  const int code = pcre2_match(handles_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                               PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY | options, data.get(), nullptr);
  if (code == PCRE2_ERROR_NOMATCH || code == PCRE2_ERROR_PARTIAL) return std::nullopt;
  if (code < 0) {
    throw DataError(fmt::format("[tokenizer] {}: matching its pattern failed: {}. Simplify the pattern.",
                                handles_->where, reason(code)));
  }
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
  if (range[0] < from || range[1] < range[0] || range[1] > text.size()) return std::nullopt;  // a pattern with \K
  return Match{range[0], range[1]};
}

}  // namespace trine
