// The article's claims, evaluated: `plan_llama article`.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "analysis/article/rows.h"

namespace trine {

struct ArticleResult {
  const ArticleRow* row = nullptr;
  std::optional<double> recomputed;  // none: a quoted fact
  std::optional<double> realistic;   // none: nothing here says it
  bool ok = true;                    // `recomputed` is as near as the row's tolerance says; true of quoted facts
  std::string why;                   // with its numbers in place
};
// All rows. `inputs` may differ from the article's, to see what follows; then `ok` says what still holds.
std::vector<ArticleResult> evaluate_article(const ArticleInputs& inputs, const ArticleInputs& published,
                                            const TodayInputs& today);

// {"rows": [{id, claim, article, recomputed, tolerance, ok, realistic, realistic_unit, unit, verdict, why}],
//  "computed", "ok", "verdicts": {"right": 71, ...}}
nlohmann::json article_json(const std::vector<ArticleResult>& results);
// A table for people, of what article_json() says and nothing else.
std::string article_text(const nlohmann::json& article);

}  // namespace trine
