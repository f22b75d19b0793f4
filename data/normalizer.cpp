#include "data/normalizer.h"

#include <algorithm>

#include "data/utf8.h"

namespace trine {
namespace {

std::string replace_all(std::string_view text, std::string_view what, std::string_view by) {
  std::string out;
  for (size_t at = 0;;) {
    const size_t next = text.find(what, at);
    out += text.substr(at, next - at);
    if (next == std::string_view::npos) return out;
    out += by;
    at = next + what.size();
  }
}

// Bytes that are no valid UTF-8 stay.
std::string replace_all(std::string_view text, const Regex& pattern, std::string_view by) {
  std::string out;
  while (!text.empty()) {
    const std::string_view valid = text.substr(0, valid_utf8_prefix(text));
    for (size_t at = 0; at < valid.size();) {
      const auto match = pattern.find(valid, at);
      out += valid.substr(at, (match ? match->begin : valid.size()) - at);
      if (match) out += by;
      at = match ? match->end : valid.size();
    }
    text.remove_prefix(valid.size());
    if (text.empty()) break;
    out += text[0];
    text.remove_prefix(1);
  }
  return out;
}

}  // namespace

Normalizer::Normalizer(const nlohmann::json& json, const TokenizerFile& file) { read(json, file); }

void Normalizer::read(const nlohmann::json& json, const TokenizerFile& file) {
  if (json.is_null()) return;
  const auto type = json.at("type").get<std::string>();
  if (type == "Sequence") {
    for (const auto& step : json.at("normalizers")) read(step, file);
  } else if (type == "Prepend") {
    steps_.push_back({.replaced = {}, .pattern = {}, .content = json.at("prepend").get<std::string>()});
  } else if (type == "Replace") {
    Step step{.replaced = {}, .pattern = {}, .content = json.at("content").get<std::string>()};
    const auto& pattern = json.at("pattern");
    if (const auto text = pattern.find("String"); text != pattern.end())
      step.replaced = text->get<std::string>();
    else
      step.pattern.emplace(pattern.at("Regex").get<std::string>(), file.path.string());
    if (!step.pattern && step.replaced.empty()) throw file.unsupported("normalizer", json);
    steps_.push_back(std::move(step));
  } else {
    throw file.unsupported("normalizer", json);
  }
}

bool Normalizer::is_local() const {
  return std::ranges::all_of(steps_, [](const Step& step) {
    return !step.pattern &&
           (step.replaced.empty() || first_code_point(step.replaced).num_bytes == step.replaced.size());
  });
}

std::string Normalizer::apply(std::string_view text, bool begins) const {
  std::string out(text);
  for (const Step& step : steps_) {
    if (step.pattern)
      out = replace_all(out, *step.pattern, step.content);
    else if (!step.replaced.empty())
      out = replace_all(out, step.replaced, step.content);
    else if (begins && !out.empty())
      out.insert(0, step.content);
  }
  return out;
}

}  // namespace trine
