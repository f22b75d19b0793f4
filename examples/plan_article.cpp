// plan_llama article: the claims of the article one by one.
#include <nlohmann/json.hpp>

#include "analysis/article/article.h"
#include "base/program.h"
#include "examples/plan_commands.h"

namespace trine {

ExitCode plan_article(int argc, const char* const* argv) {
  bool as_json = false;
  CLI::App app(
      "The claims of \"A100/H100 are too expensive, why not use 4090?\" (Bojie Li, 2023): what each says, the same "
      "computed anew from the article's inputs (profiles article-4090, article-a100, article-h100), what holds "
      "today (profiles rtx4090, a100-80-sxm, h100-sxm, h800-sxm, h100-pcie), and a verdict.",
      "plan_llama article");
  app.add_flag("--json", as_json, "prints JSON")->group("Output");
  Problems problems;
  if (!parse_flags(app, argc, argv, problems)) return ExitCode::kOk;
  problems.throw_if_any();
  const ArticleInputs inputs = article_inputs();
  const nlohmann::json article = article_json(evaluate_article(inputs, inputs, today_inputs()));
  say(stdout, "{}", as_json ? article.dump(2) + "\n" : article_text(article));
  return ExitCode::kOk;
}

}  // namespace trine
