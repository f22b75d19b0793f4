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
  handles_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &at, nullptr));
  if (!handles_->code) {
    throw DataError(
        fmt::format("[tokenizer] {}: {} at character {} of the pattern {}. Only patterns that PCRE2 knows "
                    "are supported.",
                    where, reason(error), at, pattern));
  }
  pcre2_jit_compile(handles_->code.get(), PCRE2_JIT_COMPLETE);  // where it is unavailable, matching is only slower
}

std::optional<Regex::Match> Regex::find(std::string_view text, size_t from) const {
  // Match data per call keeps find() const and thread-safe; its cost is far below the match's.
  const Handle<pcre2_match_data, pcre2_match_data_free> data(
      pcre2_match_data_create_from_pattern(handles_->code.get(), nullptr));
  if (!data) throw OutOfMemoryError(fmt::format("[tokenizer] {}: no memory to match a pattern.", handles_->where));
  const int code = pcre2_match(handles_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                               PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, data.get(), nullptr);
  if (code == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (code < 0) {
    throw DataError(fmt::format("[tokenizer] {}: matching its pattern failed: {}. Simplify the pattern.",
                                handles_->where, reason(code)));
  }
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
  if (range[0] < from || range[1] < range[0] || range[1] > text.size()) return std::nullopt;  // a pattern with \K
  return Match{range[0], range[1]};
}

}  // namespace trine
