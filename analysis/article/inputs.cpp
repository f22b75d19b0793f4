#include "analysis/article/inputs.h"

#include "analysis/goodput.h"
#include "models/presets.h"

namespace trine {
namespace {

Machine machine_named(const char* name) { return Machine(load_profile(name)); }

// It takes GB for GiB.
Card article_card(const char* name) {
  Card card = machine_named(name).card;
  card.memory_bytes *= 1e9 / (1 << 30);
  return card;
}

}  // namespace

ArticleInputs article_inputs() {
  ArticleInputs inputs;
  inputs.rtx4090 = article_card("article-4090");
  inputs.a100 = article_card("article-a100");
  inputs.h100 = article_card("article-h100");
  return inputs;
}

TodayInputs today_inputs() {
  TodayInputs inputs;
  inputs.rtx4090 = machine_named("rtx4090");
  inputs.a100 = machine_named("a100-80-sxm");
  inputs.h100 = machine_named("h100-sxm");
  inputs.h800 = machine_named("h800-sxm");
  inputs.h100_pcie = machine_named("h100-pcie");
  inputs.model = find_preset("llama2-70b")->model;
  inputs.network_latency_s = machine_named("desktop-4090-10g").network_latency_s();
  inputs.llama3_failure_device_hours = find_failure_rate("llama3")->device_hours;
  return inputs;
}

}  // namespace trine
