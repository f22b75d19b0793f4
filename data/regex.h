// A Perl-compatible regular expression over UTF-8 (PCRE2), for the pre-tokenizers of byte-level BPE.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace trine {

class Regex {
 public:
  // \s, \d, \w and \p{..} follow Unicode. DataError naming `where` if the pattern does not compile.
  Regex(const std::string& pattern, const std::string& where);
  Regex(Regex&&) noexcept;
  ~Regex();

  struct Match {
    size_t begin, end;
  };
  // The first non-empty match in text[from, ..). REQUIRES: `text` is valid UTF-8, `from` on a character.
  std::optional<Match> find(std::string_view text, size_t from) const;

 private:
  struct Handles;
  std::unique_ptr<Handles> handles_;
};

}  // namespace trine
