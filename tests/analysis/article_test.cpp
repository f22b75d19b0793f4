#include "analysis/article/article.h"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/analysis/article_reference.h"

namespace trine {
namespace {

std::vector<ArticleResult> evaluate(const ArticleInputs& inputs, const TodayInputs& today) {
  return evaluate_article(inputs, article_inputs(), today);
}
const std::vector<ArticleResult>& results() {
  static const std::vector<ArticleResult> kResults = evaluate(article_inputs(), today_inputs());
  return kResults;
}

TEST(Article, EveryClaimIsComputedAndNearTheReference) {
  ASSERT_EQ(results().size(), std::size(kArticleReference));
  EXPECT_EQ(results().size(), 116u);
  int computed = 0;
  for (const ArticleReference& reference : kArticleReference) {
    const auto found = std::ranges::find(results(), reference.id, [](const ArticleResult& r) { return r.row->id; });
    ASSERT_NE(found, results().end()) << reference.id;
    EXPECT_TRUE(found->ok) << reference.id;
    EXPECT_NEAR(found->row->value, reference.article, 1e-5 * reference.article) << reference.id;
    EXPECT_EQ(found->row->tolerance, reference.tolerance) << reference.id;
    ASSERT_EQ(found->recomputed.has_value(), reference.recomputed.has_value()) << reference.id;
    if (reference.recomputed) {
      ++computed;
      EXPECT_NEAR(*found->recomputed / *reference.recomputed, 1, 0.005) << reference.id;
    }
    if (reference.modern && reference.modern_tolerance > 0) {
      ASSERT_TRUE(found->realistic) << reference.id;
      EXPECT_NEAR(*found->realistic / *reference.modern, 1, reference.modern_tolerance) << reference.id;
    }
  }
  EXPECT_EQ(computed, 105);
}

// Ids of the rows that another number changes: of the article's own, and of today's.
std::set<std::string_view> changed(const ArticleInputs& inputs, const TodayInputs& today,
                                   std::optional<double> ArticleResult::*which) {
  std::set<std::string_view> ids;
  const std::vector<ArticleResult> after = evaluate(inputs, today);
  for (size_t i = 0; i < after.size(); ++i)
    if (after[i].*which && std::abs(*(after[i].*which) / *(results()[i].*which) - 1) > 1e-9)
      ids.insert(after[i].row->id);
  return ids;
}

using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::IsSupersetOf;
using testing::Not;

TEST(Article, RowsFollowTheInputsOfTheArticle) {
  const ArticleInputs before = article_inputs();
  const TodayInputs today = today_inputs();
  ArticleInputs inputs = before;
  inputs.rtx4090.link_bytes_per_s *= 2;
  // transfers over PCIe, what is reckoned from them, and nothing else
  EXPECT_THAT(changed(inputs, today, &ArticleResult::recomputed),
              ElementsAre("I15", "I16", "I27", "I30", "I31", "I35", "I38", "I39", "I40", "I45", "I46", "I53", "I55",
                          "I56", "T23", "T24", "T27", "T34", "T35"));
  inputs = before;
  inputs.rtx4090.bytes_per_s *= 2;
  EXPECT_THAT(changed(inputs, today, &ArticleResult::recomputed),
              ElementsAre("H11", "I06", "I12", "I13", "I16", "I19", "I20", "I21", "I22", "I23", "I24", "I29", "I30",
                          "I31", "I48", "I50", "I51", "I53"));
  inputs = before;
  inputs.h100.flops_per_s /= 2;
  EXPECT_THAT(
      changed(inputs, today, &ArticleResult::recomputed),
      ElementsAre("H10", "I07", "I32", "I34", "I43", "I44", "I45", "I46", "I56", "T36", "T37", "T38", "T39"));
  inputs = before;
  inputs.rtx4090.price_usd += 100;
  EXPECT_THAT(changed(inputs, today, &ArticleResult::recomputed), ElementsAre("C04", "I49", "I52", "I54", "I55"));
  inputs = before;
  inputs.failure_device_hours *= 10;
  EXPECT_THAT(changed(inputs, today, &ArticleResult::recomputed), ElementsAre("T42", "T43"));
}

TEST(Article, TodaysRowsFollowTheProfiles) {
  TodayInputs today = today_inputs();
  Profile profile = load_profile("rtx4090");
  set_values(profile, std::vector<std::string>{"device.link_gb_per_s=31.5"});
  set_values(profile, std::vector<std::string>{"collective.bulk_us=1"});
  today.rtx4090 = Machine(profile);
  EXPECT_THAT(changed(article_inputs(), today, &ArticleResult::realistic), IsSupersetOf({"H08", "T23"}));
  EXPECT_THAT(changed(article_inputs(), today, &ArticleResult::recomputed), ElementsAre());
}

TEST(Article, OkSeesAWrongFormula) {
  ArticleInputs inputs = article_inputs();
  inputs.layers = 81;
  std::set<std::string_view> broken;
  for (const ArticleResult& result : evaluate(inputs, today_inputs()))
    if (!result.ok) broken.insert(result.row->id);
  EXPECT_THAT(broken, IsSupersetOf({"T07", "T11", "T17", "I01", "I26"}));
  EXPECT_THAT(broken, Not(Contains("T08")));
}

TEST(Article, TheTextHasNoNumberThatTheJsonHasNot) {
  const nlohmann::json article = article_json(results());
  EXPECT_EQ(article["rows"].size(), 116u);
  EXPECT_EQ(article["computed"], 105);
  EXPECT_EQ(article["ok"], 116);
  int verdicts = 0;
  for (const auto& [verdict, count] : article["verdicts"].items()) verdicts += count.get<int>();
  EXPECT_EQ(verdicts, 116);
  // other numbers in the JSON, other numbers in the text
  nlohmann::json other = article;
  other["computed"] = 12345, other["rows"][7]["realistic"] = 98765;
  const std::string text = article_text(other);
  EXPECT_THAT(text, testing::HasSubstr("12345 computed"));
  EXPECT_THAT(text, testing::HasSubstr("98,765"));
  for (const auto& row : article["rows"]) {
    EXPECT_THAT(row["why"].get<std::string>(), Not(testing::HasSubstr("{}")));
    EXPECT_FALSE(row["why"].get<std::string>().empty());
  }
}

}  // namespace
}  // namespace trine
