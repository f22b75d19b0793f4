// What tokenizer.json does to a text before anything else:
// LLaMA-2's family puts U+2581 in front and in place of spaces.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/regex.h"
#include "data/tokenizer_json.h"

namespace trine {

class Normalizer {
 public:
  // `json`: Prepend, Replace, or a Sequence of them (empty or null: nothing). DataError for others.
  Normalizer(const nlohmann::json& json, const TokenizerFile& file);

  bool empty() const { return steps_.empty(); }
  // True if it treats each character alone, but for what it puts in front.
  bool is_local() const;
  // `begins`: false leaves out what is put in front, for a text that goes on.
  std::string apply(std::string_view text, bool begins) const;

 private:
  struct Step {
    std::string replaced;          // every occurrence of it; "" with no `pattern`: put in front
    std::optional<Regex> pattern;  // instead of `replaced`
    std::string content;
  };
  void read(const nlohmann::json& json, const TokenizerFile& file);

  std::vector<Step> steps_;
};

}  // namespace trine
