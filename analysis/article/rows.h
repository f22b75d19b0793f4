// The claims of the article as rows: what it says, the same computed anew from its inputs, and what holds today.
//
// The article: Bojie Li, "A100/H100 are too expensive, why not use 4090?" (2023). Claims are told in our words.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "analysis/article/inputs.h"

namespace trine {

enum class Verdict { kRight, kRounded, kSlip, kWrongInput, kWrongModel };
std::string_view name(Verdict verdict);  // "right", "rounded", "slip", "wrong input", "wrong model"

class ArticleContext;
using Formula = double (*)(const ArticleContext&);

struct ArticleRow {
  std::string_view id, claim;
  double value = 0;  // that the article prints
  std::string_view unit;
  // How far `recomputed` may be from `value`: "exact" (six digits), "2%", or "-": the claim is off, and
  // `recomputed` is what its formula really gives. A rounded number may also have been cut: 2.48 printed as 2.4.
  std::string_view tolerance;
  double formula_gives = 0;  // where tolerance is "-": that, reckoned by hand; 0: no formula
  Verdict verdict = Verdict::kRight;
  Formula recomputed = nullptr;          // null: a quoted fact, no formula
  Formula realistic = nullptr;           // null: nothing here says it
  std::string_view realistic_unit = {};  // where it is not `unit`
  std::string_view why;                  // each {} is a number of `also`
  std::vector<Formula> also = {};
};

std::span<const ArticleRow> hardware_rows();
std::span<const ArticleRow> training_rows();
std::span<const ArticleRow> inference_rows();
std::span<const ArticleRow> money_rows();
// Tokens per second of eight H100 at their balance, with the links that I43 leaves out.
double h100_with_links(const ArticleContext& context);

std::vector<const ArticleRow*> article_rows();  // of all four, in this order

// What formulas see. The article's inputs and today's outlive it.
class ArticleContext {
 public:
  ArticleContext(const ArticleInputs& article_inputs, const ArticleInputs& published_inputs,
                 const TodayInputs& today_inputs)
      : article(article_inputs), today(today_inputs), published_(published_inputs) {}

  const ArticleInputs& article;
  const TodayInputs& today;

  double recomputed(std::string_view id) const;
  double realistic(std::string_view id) const;
  // The number that the article prints and goes on with, roundings and slips included. Where the inputs are not
  // those that it was published with, it moves as `recomputed` does.
  double printed(std::string_view id) const;

 private:
  const ArticleInputs& published_;
};

}  // namespace trine
