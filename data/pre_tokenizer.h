// How tokenizer.json cuts a text into the pieces within which tokens are merged, and how it writes them: byte-level
// BPE writes bytes as printable characters, LLaMA-2's family spaces as U+2581.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/regex.h"
#include "data/tokenizer_json.h"

namespace trine {

// Bytes as byte-level BPE writes them (bytes_to_unicode() of GPT-2): those that are printable in Latin-1 stand for
// themselves, the others for U+0100, U+0101, ... in order.
std::string_view written_byte(unsigned char byte);
// What a token written so stands for; nothing if it has other characters. REQUIRES: valid UTF-8.
std::optional<std::string> bytes_of_written(std::string_view token);

class PreTokenizer {
 public:
  // `json`: ByteLevel, Digits, Metaspace, Punctuation, Split, Whitespace, WhitespaceSplit, or a Sequence of them
  // (null: the text is one piece). DataError for others.
  PreTokenizer(const nlohmann::json& json, const TokenizerFile& file);

  using Sink = std::function<void(std::string_view piece)>;
  // Gives the pieces in order. `at_begin`: it is the beginning of the whole text. REQUIRES: valid UTF-8.
  void run(std::string_view text, bool at_begin, const Sink& sink) const { run(text, at_begin, 0, sink); }
  // The same for text behind which more follows: only pieces that will not change.
  // Returns the bytes they took. REQUIRES: settles().
  size_t run_settled(std::string_view text, const Sink& sink) const;
  // True if text can be cut at the end of a settled piece without changing the pieces behind it.
  bool settles() const;

  bool writes_bytes() const;  // has ByteLevel
  bool only_spaces() const;   // nothing but Metaspace, or nothing at all

 private:
  enum class Kind { kSplit, kPrefix, kReplaceSpaces, kWriteBytes };
  enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };
  struct Step {
    Kind kind = Kind::kSplit;
    std::optional<Regex> pattern = {};
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;         // pieces are what the pattern does not match
    std::string text = {};       // of kPrefix and kReplaceSpaces
    bool only_at_begin = false;  // kPrefix
    bool of_metaspace = false;
  };
  struct Piece {
    size_t begin, end;
    bool matched;
  };
  void read(const nlohmann::json& json, const TokenizerFile& file);
  void add_split(const std::string& pattern, Behavior behavior, const TokenizerFile& file, bool invert = false);
  void run(std::string_view text, bool at_begin, size_t level, const Sink& sink) const;
  static std::vector<Piece> cut(std::string_view text, const Step& step);

  std::vector<Step> steps_;
};

}  // namespace trine
