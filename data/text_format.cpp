#include "data/text_format.h"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>

#include "base/json.h"

namespace trine {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kSpace = " \t\r\n";
constexpr int kLinesLookedAt = 64;

std::string_view without_space(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  return begin == std::string_view::npos ? "" : text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

bool is_named_json_lines(std::string_view name) {
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower.ends_with(".gz")) lower.resize(lower.size() - 3);
  return lower.ends_with(".jsonl") || lower.ends_with(".ndjson") || lower.ends_with(".jsonlines");
}

bool is_object(std::string_view line) { return line.starts_with('{') && line.ends_with('}') && Json::accept(line); }

struct Lines {
  int all = 0, objects = 0;
};
Lines count_lines(std::string_view text, bool whole) {
  Lines lines;
  while (!text.empty() && lines.all < kLinesLookedAt) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos && !whole) break;
    const std::string_view line = without_space(text.substr(0, end));
    if (!line.empty()) ++lines.all, lines.objects += is_object(line);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

// What is behind `c` and white space, if `text` begins with it.
std::optional<std::string_view> behind(std::string_view text, char c) {
  if (!text.starts_with(c)) return std::nullopt;
  const size_t next = text.find_first_not_of(kSpace, 1);
  return next == std::string_view::npos ? "" : text.substr(next);
}
std::optional<std::string_view> behind_string(std::string_view text) {
  if (!text.starts_with('"')) return std::nullopt;
  for (size_t at = 1; at < text.size() && text[at] != '\n'; ++at) {
    if (text[at] == '\\')
      ++at;
    else if (text[at] == '"')
      return behind(text.substr(at), '"');
  }
  return std::nullopt;
}

// {"key": ...
bool begins_as_object(std::string_view text) {
  const auto inside = behind(text, '{');
  const auto after_key = inside ? behind_string(*inside) : std::nullopt;
  return after_key && after_key->starts_with(':');
}
// [{"key": ... or ["string", "...
bool begins_as_array(std::string_view text) {
  const auto inside = behind(text, '[');
  if (!inside) return false;
  const auto after = behind_string(*inside);
  const auto next = after ? behind(*after, ',') : std::nullopt;
  return begins_as_object(*inside) || (next && next->starts_with('"'));
}

}  // namespace

std::optional<TextFormat> parse_text_format(std::string_view name) {
  if (name == "auto") return TextFormat::kAuto;
  if (name == "text") return TextFormat::kText;
  if (name == "jsonl") return TextFormat::kJsonLines;
  return std::nullopt;
}

Recognised recognise_text(std::string_view name, std::string_view beginning, bool whole) {
  if (beginning.starts_with("\xff\xfe") || beginning.starts_with("\xfe\xff"))
    return {.problem =
                "this is UTF-16, need UTF-8. Convert it, for instance: iconv -f UTF-16 -t UTF-8 FILE, or give "
                "--format text to train on its bytes as they are"};
  if (is_named_json_lines(name)) return {.format = TextFormat::kJsonLines};
  if (beginning.starts_with(kByteOrderMark)) beginning.remove_prefix(kByteOrderMark.size());
  beginning.remove_prefix(std::min(beginning.find_first_not_of(kSpace), beginning.size()));
  const Lines lines = count_lines(beginning, whole);
  if (lines.objects > 0 && 2 * lines.objects >= lines.all) return {.format = TextFormat::kJsonLines};
  const bool object = begins_as_object(beginning);
  if (object && (lines.all == 0 || lines.objects > 0)) return {.format = TextFormat::kJsonLines};
  if (object || begins_as_array(beginning))
    return {.problem = fmt::format("this is JSON, but not lines of it: need an object with \"text\" in each line. "
                                   "Convert it, for instance: jq -c {} FILE, "
                                   "or give --format text to train on the JSON itself",
                                   object ? "." : "'.[]'")};
  return {.format = TextFormat::kText};
}

TextLine text_of_line(std::string_view line) {
  const auto problem = [](std::string what) { return TextLine{.problem = std::move(what)}; };
  Json json;
  try {
    json = parse_json(line, RepeatedKeys::kLastWins);
  } catch (const JsonError& error) {
    const std::string what = error.what();
    // Without the library's own "[json.exception...] "; what it read last may be as long as the line.
    return problem("this is no JSON: " + what.substr(what.starts_with('[') ? what.find("] ") + 2 : 0, 160));
  }
  if (!json.is_object())
    return problem(fmt::format("this is JSON of type {}, need an object with \"text\"", json.type_name()));
  const auto text = json.find("text");
  if (text == json.end()) {
    std::string fields;
    for (const auto& [key, value] : json.items())
      if (fields.size() < 80) fields += (fields.empty() ? "" : ", ") + key.substr(0, 40);
    return problem(fmt::format("no field \"text\" among {}", fields.empty() ? "none" : fields));
  }
  if (!text->is_string()) return problem(fmt::format("\"text\" is {}, need a string", text->type_name()));
  return {.text = std::move(text->get_ref<std::string&>())};
}

}  // namespace trine
