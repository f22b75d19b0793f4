// BPE as Hugging Face's tokenizer.json describes it: added tokens, a normalizer, a pre-tokenizer, then merges. What
// the file asks for and we do not know is refused by name, because ignoring it would give other ids.
#include <algorithm>
#include <xxhash.h>

#include "base/input_file.h"
#include "base/json.h"
#include "data/added_tokens.h"
#include "data/bpe_model.h"
#include "data/normalizer.h"
#include "data/pre_tokenizer.h"
#include "data/text_marks.h"
#include "data/token_texts.h"
#include "data/tokenizer.h"
#include "data/utf8.h"

namespace trine {
namespace {

using Json = nlohmann::json;

constexpr const char* kMetaspace = "\xe2\x96\x81";  // U+2581, which stands for a space

Json member(const Json& object, const char* name) { return object.value(name, Json()); }

class HuggingFaceTokenizer final : public Tokenizer {
 public:
  HuggingFaceTokenizer(const TokenizerFile& file, const Json& json, uint64_t hash)
      : file_(file),
        hash_(hash),
        model_(json.at("model"), file_),
        normalizer_(member(json, "normalizer"), file_),
        pre_tokenizer_(member(json, "pre_tokenizer"), file_),
        texts_(member(json, "decoder"), pre_tokenizer_.writes_bytes(), file_) {
    for (size_t id = 0; id < model_.tokens().size(); ++id)
      texts_.set(static_cast<int32_t>(id), model_.tokens()[id]);
    for (const Json& token : member_or(json, "added_tokens", Json::array())) read_added_token(token);
    if (!marks_.begin) marks_.begin = model_.id_of("<s>");
    if (!marks_.end) marks_.end = model_.id_of("</s>");
    read_post_processor(member(json, "post_processor"));
    choose_cuts();
    count_missing_bytes();
  }

  std::string name() const override { return file_.path.string(); }
  int32_t vocab_size() const override { return texts_.num_ids(); }
  OwnMarks own_marks() const override { return marks_; }
  uint64_t hash() const override { return hash_; }
  std::string decode(std::span<const int32_t> ids) const override { return texts_.join(ids); }

  std::optional<int32_t> id_of(std::string_view token) const override {
    for (const AddedTokens* added : {&added_, &normalized_})
      for (const AddedToken& one : added->tokens())
        if (one.text == token) return one.id;
    return model_.id_of(token);
  }

  // Then it is the byte tokenizer, as checkpoint_tool export-hf writes it for others.
  bool is_bytes() const {
    if (vocab_size() != kByteVocab || marks_.begin != kByteBegin || marks_.end != kByteEnd) return false;
    std::string all;
    for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
    all += "the  end 123 \n";
    return !model_.merges() && encode(all) == make_byte_tokenizer()->encode(all);
  }
  using Tokenizer::encode;

  size_t encode_part(std::string_view text, Part part, std::vector<int32_t>& out) const override {
    if (part.last || cuts_ == Cuts::kPieces) return encode_tokens(text, part, out);
    const size_t cut = cuts_ == Cuts::kWords ? word_cut(text) : 0;
    encode_tokens(text.substr(0, cut), {part.first, true}, out);
    return cut;
  }

 private:
  // Where a text may be cut so that the ids stay: behind a settled piece of the pre-tokenizer,
  // in front of a space, or nowhere.
  enum class Cuts { kPieces, kWords, kNone };

  void read_added_token(const Json& json) {
    AddedToken token{.text = json.at("content").get<std::string>(),
                     .id = json.at("id").get<int32_t>(),
                     .single_word = member_or(json, "single_word", false),
                     .strips_left = member_or(json, "lstrip", false),
                     .strips_right = member_or(json, "rstrip", false)};
    if (token.text.empty()) throw file_.inconsistent(fmt::format("added token {} is empty", token.id));
    token.id = model_.id_of(token.text).value_or(token.id);
    const bool special = member_or(json, "special", false);
    texts_.set_added(token.id, special ? "" : token.text);
    if (special) note_special(token);
    if (!member_or(json, "normalized", !special)) return added_.add(std::move(token));
    token.text = normalizer_.apply(token.text, true);
    normalized_.add(std::move(token));
  }

  void note_special(const AddedToken& token) {
    if (!marks_.begin && names_begin(token.text)) marks_.begin = token.id;
    if (!marks_.end && names_end(token.text)) marks_.end = token.id;
  }

  // The special tokens in front of a text: those of the template, or of one among others.
  void read_post_processor(const Json& json) {
    if (!json.is_object()) return;
    const Json type = member(json, "type");
    if (type == "Sequence") {
      for (const Json& part : json.at("processors")) read_post_processor(part);
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
      marks_.prefix = {json.at("cls").at(1).get<int32_t>()};
    } else if (type == "TemplateProcessing") {
      marks_.prefix.emplace();
      for (const Json& part : json.at("single")) {
        if (!part.contains("SpecialToken")) break;
        const Json& token = json.at("special_tokens").at(part["SpecialToken"].at("id").get<std::string>());
        for (const Json& id : token.at("ids")) marks_.prefix->push_back(id.get<int32_t>());
      }
    }
  }

  void choose_cuts() {
    const auto looks_left = [](const AddedToken& token) { return token.single_word; };
    const auto within_word = [](const AddedToken& token) {
      return !token.single_word && !token.strips_left && !token.strips_right &&
             token.text.find(kMetaspace, 1) == std::string::npos && token.text.find(' ', 1) == std::string::npos;
    };
    if (normalizer_.empty() && pre_tokenizer_.settles() && std::ranges::none_of(added_.tokens(), looks_left) &&
        std::ranges::none_of(normalized_.tokens(), looks_left))
      cuts_ = Cuts::kPieces;
    else if (normalizer_.is_local() && pre_tokenizer_.only_spaces() && model_.can_cut_before(kMetaspace) &&
             only_writes_spaces() && std::ranges::all_of(normalized_.tokens(), within_word))
      cuts_ = Cuts::kWords;
  }
  // That is all it does to a text that goes on with a space.
  bool only_writes_spaces() const {
    std::string written;
    const std::string normalized = normalizer_.apply(" a a", false);
    pre_tokenizer_.run(normalized, false, [&](std::string_view piece) { written += piece; });
    return written == fmt::format("{0}a{0}a", kMetaspace);
  }

  void count_missing_bytes() {
    if (!pre_tokenizer_.writes_bytes()) return;
    int missing = 0;
    for (int byte = 0; byte < 256; ++byte) {
      std::vector<int32_t> ids;
      model_.encode(written_byte(static_cast<unsigned char>(byte)), ids);
      missing += ids.empty();
    }
    if (missing > 0)
      set_note(
          fmt::format("{} has no token for {} of the 256 bytes: "
                      "they are left out of texts, as Hugging Face's library does.",
                      name(), missing));
  }

  // The last space behind a visible ASCII character, both of the same stretch between added tokens; 0: none.
  size_t word_cut(std::string_view text) const {
    const size_t limit = text.size() - std::min(text.size(), added_.open_bytes() + 1);
    const std::vector<AddedTokens::Found> found = added_.find(text);
    auto next = found.rbegin();  // the last that begins in front of `at`
    for (size_t at = limit; at > 0; --at) {
      while (next != found.rend() && next->begin >= at) ++next;
      const bool visible = text[at - 1] > ' ' && text[at - 1] <= '~';
      const bool within = next != found.rend() && next->end >= at;
      const bool in_front = next != found.rbegin() && std::prev(next)->begin == at;
      if (text[at] == ' ' && visible && !within && !in_front) return at;
    }
    return 0;
  }

  // Takes the tokens out of `text` and gives what lies between them to `ordinary`, which returns how much it took
  // of a stretch that is not closed. Returns the bytes taken.
  template <typename Ordinary>
  size_t walk(std::string_view text, const AddedTokens& tokens, bool closed, std::vector<int32_t>& out,
              Ordinary ordinary) const {
    size_t limit = text.size();
    if (!closed) limit = character_begin(text, limit - std::min(limit, std::max<size_t>(4, tokens.open_bytes())));
    size_t begin = 0;
    for (const AddedTokens::Found& found : tokens.find(text)) {
      if (!closed && found.end > limit) {
        limit = std::min(limit, found.begin);
        break;
      }
      ordinary(text.substr(begin, found.begin - std::min(begin, found.begin)), begin == 0, true);
      out.push_back(found.id);
      begin = found.end;
    }
    if (limit <= begin) return begin;
    std::string_view rest = text.substr(begin, limit - begin);
    if (!closed && tokens.strip_left()) rest.remove_suffix(space_at_end(rest));
    return begin + ordinary(rest, begin == 0, closed);
  }

  size_t encode_tokens(std::string_view text, Part part, std::vector<int32_t>& out) const {
    return walk(text, added_, part.last, out, [&](std::string_view stretch, bool in_front, bool closed) {
      const bool first = part.first && in_front;
      if (normalizer_.empty()) return encode_normalized(stretch, first, closed, out);
      encode_normalized(normalizer_.apply(stretch, part.first || !in_front), first, true, out);
      return stretch.size();
    });
  }

  size_t encode_normalized(std::string_view text, bool first, bool closed, std::vector<int32_t>& out) const {
    return walk(text, normalized_, closed, out, [&](std::string_view stretch, bool in_front, bool still_closed) {
      return encode_ordinary(stretch, first && in_front, still_closed, out);
    });
  }

  // Bytes that are no valid UTF-8 become tokens of one byte each: nothing of the text is lost.
  size_t encode_ordinary(std::string_view text, bool first, bool closed, std::vector<int32_t>& out) const {
    const auto sink = [&](std::string_view piece) { model_.encode(piece, out); };
    for (size_t at = 0; at < text.size(); ++at) {
      const std::string_view valid = text.substr(at, valid_utf8_prefix(text.substr(at)));
      if (!closed && at + valid.size() == text.size()) return at + pre_tokenizer_.run_settled(valid, sink);
      pre_tokenizer_.run(valid, first && at == 0, sink);
      at += valid.size();
      if (at < text.size()) encode_byte(static_cast<unsigned char>(text[at]), out);
    }
    return text.size();
  }

  void encode_byte(unsigned char byte, std::vector<int32_t>& out) const {
    if (pre_tokenizer_.writes_bytes()) return model_.encode(written_byte(byte), out);
    if (const auto id = model_.id_of_fallback(byte)) return out.push_back(*id);
    model_.encode("\xef\xbf\xbd", out);
  }

  const TokenizerFile file_;
  const uint64_t hash_;
  BpeModel model_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  TokenTexts texts_;
  AddedTokens added_, normalized_;  // found before and behind the normalizer
  OwnMarks marks_;
  Cuts cuts_ = Cuts::kNone;
};

}  // namespace

std::unique_ptr<Tokenizer> make_hugging_face_tokenizer(const std::filesystem::path& path) {
  const std::string text = read_text_file(path);
  const Json json = parse_json(text, path);
  const TokenizerFile file{path};
  if (!json.contains("model"))
    throw DataError(
        fmt::format("[tokenizer] {}: this JSON has no \"model\", so it is no tokenizer.json. Give the file of "
                    "that name, which holds vocabulary and merges, or the model's folder.",
                    path.string()));
  try {
    auto tokenizer = std::make_unique<HuggingFaceTokenizer>(file, json, XXH3_64bits(text.data(), text.size()));
    if (tokenizer->is_bytes()) return make_byte_tokenizer();
    return tokenizer;
  } catch (const Json::exception& error) {
    throw DataError(
        fmt::format("[tokenizer] {}: {}. Need the tokenizer.json of a BPE model.", path.string(), error.what()));
  }
}

}  // namespace trine
