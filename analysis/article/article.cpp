#include "analysis/article/article.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "analysis/numbers.h"
#include "base/error.h"

namespace trine {
namespace {

bool near(double value, double target, double part) { return std::abs(value - target) <= part * std::abs(target); }

// 2.48 printed as 2.4.
bool cut_to(double printed, double value) {
  double unit = 1;
  while (std::abs(std::round(printed * unit) - printed * unit) > 1e-9) unit *= 10;
  return std::floor(value * unit) == std::round(printed * unit);
}

bool within_tolerance(const ArticleRow& row, double recomputed) {
  if (row.verdict == Verdict::kRounded && cut_to(row.value, recomputed)) return true;
  if (row.tolerance == "-") return near(recomputed, row.formula_gives, 0.005);
  if (row.tolerance == "exact") return near(recomputed, row.value, 1e-5);
  double percent = 0;
  const char* const end = row.tolerance.data() + row.tolerance.size() - 1;
  const auto read = std::from_chars(row.tolerance.data(), end, percent);
  TRINE_CHECK(read.ptr == end && *end == '%', "tolerance {} of {}", row.tolerance, row.id);
  return near(recomputed, row.value, percent / 100);
}

std::string filled(std::string_view text, const std::vector<Formula>& numbers, const ArticleContext& context) {
  std::string result;
  size_t used = 0;
  for (size_t at; (at = text.find("{}")) != text.npos; text.remove_prefix(at + 2), ++used) {
    TRINE_CHECK(used < numbers.size(), "more places than numbers in: {}", text);
    result += text.substr(0, at);
    result += short_number(numbers[used](context));
  }
  TRINE_CHECK(used == numbers.size(), "{} places for {} numbers: {}", used, numbers.size(), text);
  return result += text;
}

std::string number_of(const nlohmann::json& value) {
  return value.is_null() ? "-" : short_number(value.get<double>());
}

}  // namespace

std::vector<ArticleResult> evaluate_article(const ArticleInputs& inputs, const ArticleInputs& published,
                                            const TodayInputs& today) {
  const ArticleContext context(inputs, published, today);
  std::vector<ArticleResult> results;
  for (const ArticleRow* row : article_rows()) {
    ArticleResult result{.row = row};
    if (row->recomputed) {
      result.recomputed = row->recomputed(context);
      result.ok = within_tolerance(*row, *result.recomputed);
    }
    if (row->realistic) result.realistic = row->realistic(context);
    result.why = filled(row->why, row->also, context);
    results.push_back(std::move(result));
  }
  return results;
}

nlohmann::json article_json(const std::vector<ArticleResult>& results) {
  using nlohmann::json;
  const auto number = [](const std::optional<double>& value) { return value ? json(*value) : json(nullptr); };
  json rows = json::array(), verdicts = json::object();
  int computed = 0, ok = 0;
  for (const ArticleResult& result : results) {
    const ArticleRow& row = *result.row;
    computed += result.recomputed.has_value(), ok += result.ok;
    const std::string verdict(name(row.verdict));
    verdicts[verdict] = verdicts.value(verdict, 0) + 1;
    const std::string_view realistic_unit = row.realistic_unit.empty() ? row.unit : row.realistic_unit;
    rows.push_back({{"id", row.id},
                    {"claim", row.claim},
                    {"article", row.value},
                    {"recomputed", number(result.recomputed)},
                    {"tolerance", row.tolerance},
                    {"ok", result.ok},
                    {"realistic", number(result.realistic)},
                    {"realistic_unit", result.realistic ? json(realistic_unit) : json(nullptr)},
                    {"unit", row.unit},
                    {"verdict", verdict},
                    {"why", result.why}});
  }
  return {{"rows", rows}, {"computed", computed}, {"ok", ok}, {"verdicts", verdicts}};
}

std::string article_text(const nlohmann::json& article) {
  const auto& rows = article.at("rows");
  std::string text = fmt::format(
      "The claims of \"A100/H100 are too expensive, why not use 4090?\" (Bojie Li, 2023), one by one.\n"
      "article: what it says. anew: the same formula with its inputs. today: measured links, dense FLOPS, and what "
      "is\nknown of the model now. The verdict is on formula and arithmetic: right ones may rest on rows that are "
      "not.\n{} claims, {} computed anew, {} as close as they should be.\n\n",
      rows.size(), article.at("computed").get<int>(), article.at("ok").get<int>());
  text +=
      fmt::format("{:<4} {:>10} {:>10} {:>10}  {:<12} {}\n", "", "article", "anew", "today", "verdict", "claim");
  for (const auto& row : rows) {
    const std::string unit = row.at("unit").get<std::string>();
    text +=
        fmt::format("{:<4} {:>10} {:>10} {:>10}  {:<12} {}. [{}]{}\n", row.at("id").get<std::string>(),
                    number_of(row.at("article")), number_of(row.at("recomputed")), number_of(row.at("realistic")),
                    row.at("verdict").get<std::string>(), row.at("claim").get<std::string>(), unit,
                    row.at("ok").get<bool>() ? "" : "  NOT REPRODUCED");
    if (const auto& today = row.at("realistic_unit"); !today.is_null() && today != unit)
      text += fmt::format("{:>38}  today in {}\n", "", today.get<std::string>());
    text += fmt::format("{:>38}  {}\n", "", row.at("why").get<std::string>());
  }
  text += "\n";
  for (const auto& [verdict, count] : article.at("verdicts").items())
    text += fmt::format("{}{} {}", text.back() == '\n' ? "" : ", ", count.get<int>(), verdict);
  return text + "\n";
}

}  // namespace trine
