// Byte-level BPE as Hugging Face's tokenizer.json describes it, in the form that LLaMA-3 and GPT-2 use: no
// normalizer, a pre-tokenizer of regular expressions, then merges over bytes. Anything else in the file is refused
// by name, because ignoring it would give other ids.
#include <algorithm>
#include <array>
#include <unordered_map>
#include <xxhash.h>

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "data/bpe.h"
#include "data/regex.h"
#include "data/tokenizer.h"
#include "data/utf8.h"

namespace trine {
namespace {

using Json = nlohmann::json;

constexpr int32_t kMaxId = 1 << 24;
// Of GPT-2; what {"type": "ByteLevel", "use_regex": true} stands for.
constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// tokenizer.json writes bytes as printable characters: those that are printable in Latin-1 stand for themselves,
// the others for 256, 257, ... in order (bytes_to_unicode() of GPT-2).
std::unordered_map<uint32_t, char> byte_of_character() {
  std::unordered_map<uint32_t, char> map;
  uint32_t next = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    map[printable ? byte : next++] = static_cast<char>(byte);
  }
  return map;
}

struct AddedToken {
  std::string text;
  int32_t id;
};

class BpeTokenizer final : public Tokenizer {
 public:
  explicit BpeTokenizer(const std::filesystem::path& path) : path_(path) {
    const MappedFile file(path);
    const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.size());
    hash_ = XXH3_64bits(text.data(), text.size());
    const Json json = parse_json(text, path);
    try {
      if (json.contains("normalizer") && !json["normalizer"].is_null())
        throw unsupported("normalizer", json["normalizer"]);
      read_model(json.at("model"));
      read_pre_tokenizer(json.at("pre_tokenizer"));
      for (const Json& token : json.value("added_tokens", Json::array())) read_added_token(token);
    } catch (const Json::exception& error) {
      throw DataError(fmt::format("[tokenizer] {}: {}. Need the tokenizer.json of a byte-level BPE model.",
                                  path.string(), error.what()));
    }
    std::sort(added_.begin(), added_.end(), [](const AddedToken& a, const AddedToken& b) {
      return a.text.size() != b.text.size() ? a.text.size() > b.text.size() : a.text < b.text;
    });
  }

  std::string name() const override { return path_.string(); }
  int32_t vocab_size() const override { return static_cast<int32_t>(text_of_id_.size()); }
  std::optional<int32_t> begin_id() const override {
    return added_id({"<|begin_of_text|>", "<|startoftext|>", "<s>"});
  }
  std::optional<int32_t> end_id() const override { return added_id({"<|end_of_text|>", "<|endoftext|>", "</s>"}); }
  uint64_t hash() const override { return hash_; }

  // Added tokens are found in the text first (leftmost, then longest), as Hugging Face does.
  void encode(std::string_view text, std::vector<int32_t>& out) const override {
    size_t begin = 0;
    for (size_t at = 0; at < text.size();) {
      const AddedToken* token = added_token_at(text, at);
      if (token == nullptr) {
        ++at;
        continue;
      }
      encode_ordinary(text.substr(begin, at - begin), out);
      out.push_back(token->id);
      begin = at += token->text.size();
    }
    encode_ordinary(text.substr(begin), out);
  }

  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (int32_t id : ids) {
      if (0 <= id && id < vocab_size()) text += text_of_id_[static_cast<size_t>(id)];
    }
    return text;
  }

 private:
  DataError unsupported(const char* what, const Json& found) const {
    return DataError(
        fmt::format("[tokenizer] {}: {} is {}, which is not supported; need byte-level BPE as LLaMA-3 and "
                    "GPT-2 have it. For LLaMA-2 give its tokenizer.model.",
                    path_.string(), what, found.dump(-1, ' ', true).substr(0, 120)));
  }
  DataError inconsistent(const std::string& what) const {
    return DataError(fmt::format("[tokenizer] {}: {}. The file is damaged: fetch it again.", path_.string(), what));
  }
  // Members that change the ids and that we do not implement must be absent, null, false or "".
  void require_unset(const Json& object, std::initializer_list<const char*> members) const {
    for (const char* member : members) {
      const auto it = object.find(member);
      if (it == object.end() || it->is_null() || *it == false || *it == "") continue;
      throw unsupported(member, *it);
    }
  }

  void set_text(int32_t id, std::string text) {
    if (id < 0 || id >= kMaxId) throw inconsistent(fmt::format("token id {}, need 0 to {}", id, kMaxId - 1));
    if (text_of_id_.size() <= static_cast<size_t>(id)) text_of_id_.resize(static_cast<size_t>(id) + 1);
    text_of_id_[static_cast<size_t>(id)] = std::move(text);
  }

  void read_model(const Json& model) {
    if (model.value("type", "BPE") != "BPE") throw unsupported("model.type", model["type"]);
    require_unset(model, {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"});
    const auto ignore_merges = model.find("ignore_merges");
    ignore_merges_ = ignore_merges != model.end() && ignore_merges->get<bool>();

    const Json& vocab = model.at("vocab");
    const auto byte_of = byte_of_character();
    for (const auto& [written, id] : vocab.get_ref<const Json::object_t&>()) {
      std::string bytes;
      for (std::string_view rest = written; !rest.empty();) {
        const CodePoint c = first_code_point(rest);
        const auto byte = byte_of.find(c.value);
        if (byte == byte_of.end()) throw unsupported("a token that is not byte-level", Json(written));
        bytes += byte->second;
        rest.remove_prefix(c.num_bytes);
      }
      set_text(id.get<int32_t>(), bytes);
      id_of_bytes_.emplace(std::move(bytes), id.get<int32_t>());
    }
    for (size_t byte = 0; byte < 256; ++byte) {
      const auto it = id_of_bytes_.find(std::string(1, static_cast<char>(byte)));
      if (it == id_of_bytes_.end()) throw inconsistent(fmt::format("no token for byte {}", byte));
      id_of_byte_[byte] = it->second;
    }
    const auto id_of = [&](const std::string& written) {
      const auto it = vocab.find(written);
      if (it == vocab.end()) throw inconsistent(fmt::format("a merge needs the token \"{}\"", written));
      return it->get<int32_t>();
    };
    for (const Json& merge : model.at("merges")) {  // "a b" in older files, ["a", "b"] since tokenizers 0.20
      std::string left, right;
      if (merge.is_array()) {
        left = merge.at(0).get<std::string>(), right = merge.at(1).get<std::string>();
      } else {
        const auto& both = merge.get_ref<const std::string&>();
        const size_t space = both.find(' ');
        if (space == std::string::npos) throw inconsistent(fmt::format("merge \"{}\" has no space", both));
        left = both.substr(0, space), right = both.substr(space + 1);
      }
      merges_.add(id_of(left), id_of(right), id_of(left + right));
    }
  }

  void read_pre_tokenizer(const Json& json) {
    const auto type = json.at("type").get<std::string>();
    if (type == "Sequence") {
      for (const Json& part : json.at("pretokenizers")) read_pre_tokenizer(part);
    } else if (type == "Split") {
      if (json.at("behavior") != "Isolated" || !json.at("pattern").contains("Regex"))
        throw unsupported("Split", json);
      require_unset(json, {"invert"});
      splits_.emplace_back(json["pattern"]["Regex"].get<std::string>(), path_.string());
    } else if (type == "ByteLevel") {
      require_unset(json, {"add_prefix_space"});
      if (json.value("use_regex", true)) splits_.emplace_back(kGpt2Pattern, path_.string());
    } else {
      throw unsupported("pre_tokenizer", json);
    }
  }

  void read_added_token(const Json& token) {
    require_unset(token, {"lstrip", "rstrip", "single_word", "normalized"});
    const auto id = token.at("id").get<int32_t>();
    const auto text = token.at("content").get<std::string>();
    if (text.empty()) throw inconsistent(fmt::format("added token {} is empty", id));
    set_text(id, token.value("special", false) ? "" : text);
    added_.push_back({text, id});
    begins_added_[static_cast<unsigned char>(text[0])] = true;
  }

  std::optional<int32_t> added_id(std::initializer_list<std::string_view> names) const {
    for (std::string_view name : names) {
      for (const AddedToken& token : added_) {
        if (token.text == name) return token.id;
      }
    }
    return std::nullopt;
  }

  const AddedToken* added_token_at(std::string_view text, size_t at) const {
    if (!begins_added_[static_cast<unsigned char>(text[at])]) return nullptr;
    for (const AddedToken& token : added_) {  // longest first
      if (text.substr(at).starts_with(token.text)) return &token;
    }
    return nullptr;
  }

  // Bytes that are no valid UTF-8 become tokens of one byte each: nothing of the text is lost.
  void encode_ordinary(std::string_view text, std::vector<int32_t>& out) const {
    while (!text.empty()) {
      const size_t valid = valid_utf8_prefix(text);
      if (valid > 0) split(text.substr(0, valid), 0, out);
      text.remove_prefix(valid);
      if (text.empty()) break;
      out.push_back(id_of_byte_[static_cast<unsigned char>(text[0])]);
      text.remove_prefix(1);
    }
  }

  // Cuts `text` at the matches of pattern number `level` (matches and what lies between them are pieces), and each
  // piece by the next pattern.
  void split(std::string_view text, size_t level, std::vector<int32_t>& out) const {
    if (level == splits_.size()) return merge_piece(text, out);
    for (size_t at = 0; at < text.size();) {
      const auto match = splits_[level].find(text, at).value_or(Regex::Match{text.size(), text.size()});
      if (match.begin > at) split(text.substr(at, match.begin - at), level + 1, out);
      if (match.end > match.begin) split(text.substr(match.begin, match.end - match.begin), level + 1, out);
      at = match.end;
    }
  }

  void merge_piece(std::string_view piece, std::vector<int32_t>& out) const {
    if (ignore_merges_) {
      const auto whole = id_of_bytes_.find(std::string(piece));
      if (whole != id_of_bytes_.end()) return out.push_back(whole->second);
    }
    std::vector<int32_t> ids;
    ids.reserve(piece.size());
    for (char c : piece) ids.push_back(id_of_byte_[static_cast<unsigned char>(c)]);
    merges_.apply(ids);
    out.insert(out.end(), ids.begin(), ids.end());
  }

  std::filesystem::path path_;
  uint64_t hash_ = 0;
  bool ignore_merges_ = false;  // a piece that is a token as a whole is that token, whatever the merges say
  BpeMerges merges_;
  std::array<int32_t, 256> id_of_byte_{};
  std::unordered_map<std::string, int32_t> id_of_bytes_;
  std::vector<std::string> text_of_id_;  // bytes; "" for special tokens and holes
  std::vector<Regex> splits_;
  std::vector<AddedToken> added_;  // longest first
  std::array<bool, 256> begins_added_{};
};

}  // namespace

std::unique_ptr<Tokenizer> make_bpe_tokenizer(const std::filesystem::path& file) {
  return std::make_unique<BpeTokenizer>(file);
}

}  // namespace trine
