#include "data/pre_tokenizer.h"

#include <algorithm>
#include <array>

#include "data/utf8.h"

namespace trine {
namespace {

using Json = nlohmann::json;

// Of GPT-2; what {"type": "ByteLevel", "use_regex": true} stands for.
constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// The library's "Punctuation" knows Unicode 8: without what became punctuation later,
// with U+166D, which was it then.
constexpr const char* kPunctuation =
    R"((?![)"
    R"(\x{61d}\x{9fd}\x{a76}\x{c77}\x{c84}\x{1b7d}-\x{1b7e}\x{2e43}-\x{2e4f}\x{2e52}-\x{2e5d}\x{10ead})"
    R"(\x{10f55}-\x{10f59}\x{10f86}-\x{10f89}\x{1144b}-\x{1144f}\x{1145a}-\x{1145b}\x{1145d})"
    R"(\x{11660}-\x{1166c}\x{116b9}\x{1183b}\x{11944}-\x{11946}\x{119e2}\x{11a3f}-\x{11a46})"
    R"(\x{11a9a}-\x{11a9c}\x{11a9e}-\x{11aa2}\x{11c41}-\x{11c45}\x{11c70}-\x{11c71}\x{11ef7}-\x{11ef8})"
    R"(\x{11fff}\x{12ff1}-\x{12ff2}\x{16e97}-\x{16e9a}\x{16fe2}\x{1e95e}-\x{1e95f})"
    R"(])[\p{P}\x{166d}!-\/:-@\[-`{-~])";

bool stands_for_itself(uint32_t byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

struct Writing {
  std::array<Utf8, 256> of_byte;
  std::array<int, 0x180> byte_of;  // by code point; -1: none
};
constexpr uint32_t kFirstOther = 0x100;

const Writing& writing() {
  static const Writing kWriting = [] {
    Writing w;
    w.byte_of.fill(-1);
    uint32_t next = kFirstOther;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const uint32_t c = stands_for_itself(byte) ? byte : next++;
      w.of_byte[byte] = utf8_of(c);
      w.byte_of[c] = static_cast<int>(byte);
    }
    return w;
  }();
  return kWriting;
}

std::string escaped(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (std::string_view(R"(\^$.[]|()?*+{}-#)").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

}  // namespace

std::string_view written_byte(unsigned char byte) { return writing().of_byte[byte]; }

std::optional<std::string> bytes_of_written(std::string_view token) {
  std::string bytes;
  while (!token.empty()) {
    const CodePoint c = first_code_point(token);
    const int byte = c.value < writing().byte_of.size() ? writing().byte_of[c.value] : -1;
    if (byte < 0) return std::nullopt;
    bytes += static_cast<char>(byte);
    token.remove_prefix(c.num_bytes);
  }
  return bytes;
}

PreTokenizer::PreTokenizer(const Json& json, const TokenizerFile& file) { read(json, file); }

void PreTokenizer::add_split(const std::string& pattern, Behavior behavior, const TokenizerFile& file,
                             bool invert) {
  steps_.push_back({.kind = Kind::kSplit, .behavior = behavior, .invert = invert});
  steps_.back().pattern.emplace(pattern, file.path.string());
}

void PreTokenizer::read(const Json& json, const TokenizerFile& file) {
  if (json.is_null()) return;
  const auto type = json.at("type").get<std::string>();
  const auto behavior = [&](const char* otherwise) {
    constexpr std::array<std::string_view, 5> names = {"Isolated", "Removed", "MergedWithPrevious",
                                                       "MergedWithNext", "Contiguous"};
    const auto it = std::ranges::find(names, member_or(json, "behavior", otherwise));
    if (it == names.end()) throw file.unsupported("pre_tokenizer", json);
    return static_cast<Behavior>(it - names.begin());
  };
  const auto prefix = [&](std::string text, bool only_at_begin) {
    steps_.push_back({.kind = Kind::kPrefix, .text = std::move(text), .only_at_begin = only_at_begin});
  };
  if (type == "Sequence") {
    for (const Json& part : json.at("pretokenizers")) read(part, file);
  } else if (type == "Split") {
    const Json& pattern = json.at("pattern");
    const auto text = pattern.find("String");
    add_split(text != pattern.end() ? escaped(text->get<std::string>()) : pattern.at("Regex").get<std::string>(),
              behavior(""), file, member_or(json, "invert", false));
  } else if (type == "ByteLevel") {
    if (member_or(json, "add_prefix_space", true)) prefix(" ", false);
    if (member_or(json, "use_regex", true)) add_split(kGpt2Pattern, Behavior::kIsolated, file);
    steps_.push_back({.kind = Kind::kWriteBytes});
  } else if (type == "Metaspace") {
    const auto space = json.at("replacement").get<std::string>();
    const bool prefixed = member_or(json, "add_prefix_space", true);
    const auto scheme = member_or(json, "prepend_scheme", prefixed ? "always" : "never");
    if (scheme != "always" && scheme != "first" && scheme != "never") throw file.unsupported("pre_tokenizer", json);
    const size_t first = steps_.size();
    steps_.push_back({.kind = Kind::kReplaceSpaces, .text = space});
    if (scheme != "never") prefix(space, scheme == "first");
    if (member_or(json, "split", true)) add_split(escaped(space), Behavior::kMergedWithNext, file);
    for (size_t i = first; i < steps_.size(); ++i) steps_[i].of_metaspace = true;
  } else if (type == "Digits") {
    add_split(R"(\p{N})", member_or(json, "individual_digits", false) ? Behavior::kIsolated : Behavior::kContiguous,
              file);
  } else if (type == "Punctuation") {
    add_split(kPunctuation, behavior("Isolated"), file);
  } else if (type == "Whitespace") {
    constexpr const char* word = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{200c}\x{200d}\x{24b6}-\x{24e9})";
    add_split(fmt::format(R"([{0}]+|[^{0}\s]+)", word), Behavior::kRemoved, file, true);
  } else if (type == "WhitespaceSplit") {
    add_split(R"(\s)", Behavior::kRemoved, file);
  } else {
    throw file.unsupported("pre_tokenizer", json);
  }
}

// All of `text`, as pieces by the step's behaviour, in order (normalizer.rs, split(), of tokenizers).
std::vector<PreTokenizer::Piece> PreTokenizer::cut(std::string_view text, const Step& step) {
  std::vector<Piece> raw;
  for (size_t at = 0; at < text.size();) {
    const auto match = step.pattern->find(text, at).value_or(Regex::Match{text.size(), text.size()});
    if (match.begin > at) raw.push_back({at, match.begin, step.invert});
    if (match.end > match.begin) raw.push_back({match.begin, match.end, !step.invert});
    at = match.end;
  }
  std::vector<Piece> pieces;
  const auto joins = [&](const Piece& piece, bool previous_matched) {
    if (pieces.empty()) return false;
    return step.behavior == Behavior::kContiguous ? piece.matched == previous_matched
                                                  : piece.matched && !previous_matched;
  };
  const bool backwards = step.behavior == Behavior::kMergedWithNext;
  if (backwards) std::ranges::reverse(raw);
  bool previous_matched = false;
  for (const Piece& piece : raw) {
    if (step.behavior == Behavior::kRemoved) {
      if (!piece.matched) pieces.push_back(piece);
    } else if (step.behavior == Behavior::kIsolated || !joins(piece, previous_matched)) {
      pieces.push_back(piece);
    } else {
      (backwards ? pieces.back().begin : pieces.back().end) = backwards ? piece.begin : piece.end;
    }
    previous_matched = piece.matched;
  }
  if (backwards) std::ranges::reverse(pieces);
  return pieces;
}

void PreTokenizer::run(std::string_view text, bool at_begin, size_t level, const Sink& sink) const {
  if (text.empty()) return;
  if (level == steps_.size()) return sink(text);
  const Step& step = steps_[level];
  switch (step.kind) {
    case Kind::kSplit:
      for (const Piece& piece : cut(text, step))
        run(text.substr(piece.begin, piece.end - piece.begin), at_begin && piece.begin == 0, level + 1, sink);
      return;
    case Kind::kPrefix:
      if (text.starts_with(step.text) || (step.only_at_begin && !at_begin))
        return run(text, at_begin, level + 1, sink);
      return run(step.text + std::string(text), at_begin, level + 1, sink);
    case Kind::kReplaceSpaces: {
      std::string replaced;
      for (const char c : text) c == ' ' ? replaced += step.text : replaced += c;
      return run(replaced, at_begin, level + 1, sink);
    }
    case Kind::kWriteBytes: {
      std::string written;
      for (const char c : text) written += written_byte(static_cast<unsigned char>(c));
      return run(written, at_begin, level + 1, sink);
    }
  }
}

size_t PreTokenizer::run_settled(std::string_view text, const Sink& sink) const {
  size_t at = 0;
  while (const auto match = steps_[0].pattern->find_settled(text, at)) {
    run(text.substr(at, match->begin - at), false, 1, sink);
    if (steps_[0].behavior == Behavior::kIsolated)
      run(text.substr(match->begin, match->end - match->begin), false, 1, sink);
    at = match->end;
  }
  return at;
}

bool PreTokenizer::settles() const {
  if (steps_.empty() || steps_[0].kind != Kind::kSplit || steps_[0].pattern->looks_back() || steps_[0].invert)
    return false;
  const bool begins_matter = std::ranges::any_of(steps_, [](const Step& step) { return step.only_at_begin; });
  return !begins_matter && (steps_[0].behavior == Behavior::kIsolated || steps_[0].behavior == Behavior::kRemoved);
}

bool PreTokenizer::writes_bytes() const {
  return std::ranges::any_of(steps_, [](const Step& step) { return step.kind == Kind::kWriteBytes; });
}

bool PreTokenizer::only_spaces() const {
  return std::ranges::all_of(steps_, [](const Step& step) { return step.of_metaspace; });
}

}  // namespace trine
