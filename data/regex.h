// A Perl-compatible regular expression over UTF-8 (PCRE2), for the pre-tokenizers of BPE.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace trine {

class Regex {
 public:
  // \s, \d and \p{..} follow Unicode, and \h is a hexadecimal digit, as in Oniguruma, for which the patterns are
  // written. DataError naming `where` if the pattern does not compile.
  Regex(const std::string& pattern, const std::string& where);
  Regex(Regex&&) noexcept;
  ~Regex();

  struct Match {
    size_t begin, end;
  };
  // The first non-empty match in text[from, ..). REQUIRES: `text` is valid UTF-8, `from` on a character.
  std::optional<Match> find(std::string_view text, size_t from) const;
  // The same where more text follows: nothing if that could change the answer.
  std::optional<Match> find_settled(std::string_view text, size_t from) const;
  // Whether a match may depend on what stands before it.
  bool looks_back() const { return looks_back_; }

 private:
  std::optional<Match> find(std::string_view text, size_t from, unsigned options) const;

  struct Handles;
  std::unique_ptr<Handles> handles_;
  bool looks_back_ = false;
};

}  // namespace trine
