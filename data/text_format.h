// Whether a file is text or JSON lines: one document, or one in each line.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace trine {

inline constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";  // of UTF-8

enum class TextFormat { kAuto, kText, kJsonLines };                  // kAuto: as the name or the contents say
std::optional<TextFormat> parse_text_format(std::string_view name);  // auto, text, jsonl

// kText or kJsonLines, from a file's name (.jsonl and .ndjson in any case, .gz behind them or not) and, whatever it
// is called, from its `beginning`; `whole`: that is all of it. Sets `problem` instead if it is evidently neither:
// JSON in another form, or UTF-16.
struct Recognised {
  TextFormat format = TextFormat::kText;
  std::string problem = {};  // what it is and what to do, or empty
};
Recognised recognise_text(std::string_view name, std::string_view beginning, bool whole);

// The field "text" of a line of JSON. Sets `problem` if there is none.
struct TextLine {
  std::string text = {}, problem = {};
};
TextLine text_of_line(std::string_view line);

}  // namespace trine
