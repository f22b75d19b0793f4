#include "data/text_marks.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/file_system.h"
#include "base/json.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

using Json = nlohmann::json;

Json read_if_there(const fs::path& file) {
  Json json = is_file(file) ? read_json_file(file) : Json();
  return json.is_object() ? json : Json::object();
}

// "bos_token": "<s>", or an object with its "content".
std::optional<int32_t> special(const Json& object, const char* member, const Tokenizer& tokenizer) {
  const auto it = object.find(member);
  if (it == object.end()) return std::nullopt;
  const Json& name = it->is_object() ? it->value("content", Json()) : *it;
  return name.is_string() ? tokenizer.id_of(name.get_ref<const std::string&>()) : std::nullopt;
}

// Whether transformers' class of that name puts the begin in front of a text unless it is told otherwise.
bool class_adds_begin(std::string name) {
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name.find("llama") != std::string::npos || name.find("gemma") != std::string::npos;
}

// The letters, and a slash, of a name in brackets: "<|end_of_text|>" is "endoftext".
std::string letters_of(std::string_view token) {
  std::string letters;
  if (!token.starts_with('<') && !token.starts_with('[')) return letters;
  for (const char c : token)
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '/')
      letters += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return letters;
}

}  // namespace

bool names_begin(std::string_view token) {
  constexpr std::array<std::string_view, 9> names = {"beginoftext",
                                                     "startoftext",
                                                     "beginofsentence",
                                                     "startofsentence",
                                                     "beginofsequence",
                                                     "startofsequence",
                                                     "beginofdocument",
                                                     "bos",
                                                     "s"};
  return std::ranges::find(names, letters_of(token)) != names.end();
}

bool names_end(std::string_view token) {
  constexpr std::array<std::string_view, 7> names = {
      "endoftext", "endofsentence", "endofsequence", "endofdocument", "eos", "eod", "/s"};
  return std::ranges::find(names, letters_of(token)) != names.end();
}

TextIds text_ids_of(const Tokenizer& tokenizer) {
  return {tokenizer.marks().begin.value_or(-1), tokenizer.marks().ends};
}

TextMarks read_text_marks(const Tokenizer& tokenizer, const fs::path& folder) {
  const auto known = [&](int id) { return 0 <= id && id < tokenizer.vocab_size(); };
  const TextIds model = read_text_ids(folder);
  Json config = read_if_there(folder / "tokenizer_config.json");
  const Json map = read_if_there(folder / "special_tokens_map.json");
  const Tokenizer::OwnMarks own = tokenizer.own_marks();

  const auto named_begin = special(config, "bos_token", tokenizer),
             old_begin = special(map, "bos_token", tokenizer);
  std::optional<int32_t> token_begin = named_begin ? named_begin : old_begin;
  if (!token_begin && own.prefix && !own.prefix->empty()) token_begin = own.prefix->back();
  if (!token_begin) token_begin = own.begin;
  TextMarks marks;
  marks.begin = known(model.begin) ? model.begin : token_begin;

  std::ranges::copy_if(model.ends, std::back_inserter(marks.ends), known);
  if (marks.ends.empty())
    for (const auto& end : {special(config, "eos_token", tokenizer), special(map, "eos_token", tokenizer), own.end})
      if (end && marks.ends.empty()) marks.ends = {*end};

  const auto just_begin = [](std::optional<int32_t> id) { return id ? std::vector{*id} : std::vector<int32_t>(); };
  const auto adds = config.find("add_bos_token"), class_name = config.find("tokenizer_class");
  if (adds != config.end() && adds->is_boolean())
    marks.prefix = adds->get<bool>() ? just_begin(token_begin ? token_begin : marks.begin) : std::vector<int32_t>();
  else if (own.prefix)
    marks.prefix = *own.prefix;
  else if (class_name == config.end() || !class_name->is_string() ||
           class_adds_begin(class_name->get<std::string>()))
    marks.prefix = just_begin(marks.begin);
  return marks;
}

}  // namespace trine
