#include "data/prepared_info.h"

#include "base/error.h"
#include "base/input_file.h"
#include "base/json.h"

namespace trine {
namespace fs = std::filesystem;
using Json = nlohmann::json;
namespace {

constexpr std::string_view kFormat = "trine prepared data";

bool is_ours(const fs::path& info) {
  if (!is_file(info)) return false;
  try {
    const Json json = parse_json(read_text_file(info));
    return json.is_object() && json.contains("format") && json["format"].is_string() &&
           json["format"].get<std::string>().starts_with(kFormat);
  } catch (const JsonError&) {
    return false;
  }
}

bool is_token_index(const fs::path& path) { return beginning_of(path, 7) == "MMIDIDX"; }

}  // namespace

std::string to_json_text(const PreparedInfo& info) {
  const Json json = {{"format", "trine prepared data 1"},
                     {"tokenizer", info.tokenizer},
                     {"tokenizer_hash", fmt::format("{:016x}", info.tokenizer_hash)},
                     {"vocab_size", info.vocab_size},
                     {"train_tokens", info.train_tokens},
                     {"valid_tokens", info.valid_tokens},
                     {"documents", info.num_documents},
                     {"skipped_lines", info.skipped_lines}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

PreparedInfo read_prepared_info(const fs::path& file) {
  const Json json = read_json_file(file);
  try {
    PreparedInfo info;
    info.tokenizer = json.at("tokenizer").get<std::string>();
    info.tokenizer_hash = std::stoull(json.at("tokenizer_hash").get<std::string>(), nullptr, 16);
    info.vocab_size = json.at("vocab_size").get<int64_t>();
    info.train_tokens = json.at("train_tokens").get<int64_t>();
    info.valid_tokens = json.at("valid_tokens").get<int64_t>();
    info.num_documents = json.at("documents").get<int64_t>();
    return info;
  } catch (const std::exception& error) {
    throw DataError(
        fmt::format("[data] {}: {}, need what prepare_data writes. Run prepare_data again, or remove this "
                    "file to go without the check of the tokenizer.",
                    file.string(), error.what()));
  }
}

void require_own_outputs(const fs::path& prefix) {
  const auto suffixed = [&](const char* suffix) { return fs::path(prefix) += suffix; };
  const auto refuse_if = [&](bool foreign, const fs::path& path) {
    if (foreign && is_taken(path))
      throw ConfigError(
          fmt::format("[--out] {} is there and was not written by prepare_data: it is not replaced. "
                      "Choose another --out, or remove it.",
                      path.string()));
  };
  const fs::path info = suffixed(".json");
  const bool ours = is_ours(info), tokens = ours || is_token_index(suffixed("-train.idx"));
  refuse_if(!ours, info);
  for (const char* suffix : {"-train.bin", "-train.idx", "-valid.bin", "-valid.idx"})
    refuse_if(!tokens, suffixed(suffix));
}

std::optional<fs::path> find_prepared_info(const fs::path& data) {
  std::string prefix = data.string();
  const auto strip = [&](std::string_view suffix) {
    if (!prefix.ends_with(suffix)) return false;
    prefix.resize(prefix.size() - suffix.size());
    return true;
  };
  strip(".bin") || strip(".idx");
  if (!strip("-train") && !strip("-valid")) return std::nullopt;
  const fs::path info = prefix + ".json";
  return is_file(info) ? std::optional(info) : std::nullopt;
}

void check_prepared_with(const fs::path& data, const Tokenizer& tokenizer) {
  const auto file = find_prepared_info(data);
  if (!file) return;
  const PreparedInfo info = read_prepared_info(*file);
  if (info.tokenizer_hash == tokenizer.hash() && info.vocab_size == tokenizer.vocab_size()) return;
  throw ConfigError(fmt::format(
      "[data] {} was prepared with the tokenizer {} (vocabulary {}, hash {:016x}), but this run's is {} "
      "(vocabulary {}, hash {:016x}). Give the same one with --tokenizer, "
      "or prepare the text again with this run's.",
      data.string(), info.tokenizer, info.vocab_size, info.tokenizer_hash, tokenizer.name(), tokenizer.vocab_size(),
      tokenizer.hash()));
}

}  // namespace trine
