#include "analysis/inference_report.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "analysis/article/rows.h"
#include "analysis/numbers.h"
#include "base/text.h"
#include "models/presets.h"

namespace trine {

using nlohmann::json;

InferenceSetup inference_on(const Machine& machine, const LlamaConfig& model, const InferenceSplit& split,
                            int64_t context, std::optional<int64_t> batch, std::optional<double> price_hour) {
  const double devices = split.devices();
  InferenceSetup setup{.model = model, .split = split, .context = context, .batch = batch};
  setup.device = {machine.card.flops_per_s, machine.card.bytes_per_s, machine.usable_bytes()};
  setup.all_reduce_s = [machine, tp = split.tp](double bytes) { return machine.all_reduce_s(tp, bytes); };
  setup.hop_s = [machine, split](int stage, double bytes) {
    return machine.message_s(bytes, stage * split.tp, (stage + 1) % split.pp * split.tp);
  };
  setup.usd_per_hour = price_hour ? *price_hour * devices
                                  : machine.host_cost().usd_per_hour() / machine.devices_per_host() * devices;
  return setup;
}

InferenceSplit default_split(const Machine& machine, const LlamaConfig& model, int devices) {
  for (const InferenceSplit& split : possible_splits(model, devices))
    if (split.tp <= machine.devices_per_host()) return split;
  return {.tp = 1, .pp = 1, .replicas = devices};
}

namespace {

std::string split_name(const InferenceSplit& split) {
  return fmt::format("{}x{}{}", split.tp, split.pp, split.replicas > 1 ? fmt::format(" x {}", split.replicas) : "");
}

json usd(double tokens_per_usd) { return tokens_per_usd > 0 ? json(tokens_per_usd) : json(nullptr); }

// Where nothing fits: what was needed, what there is, and what would do.
[[noreturn]] void throw_too_large(const Machine& machine, const InferenceSetup& setup, const InferenceSize& size) {
  const NearestFit nearest = nearest_fit(setup);
  std::string text = fmt::format(
      "[inference] {} sequences of {} tokens take {} on a device, {} of it weights; {} has room for {}. ",
      size.batch, setup.context, format_bytes(static_cast<int64_t>(size.memory_bytes())),
      format_bytes(static_cast<int64_t>(size.device_weights_bytes)), machine.name(),
      format_bytes(static_cast<int64_t>(setup.device.memory_bytes)));
  std::vector<std::string> ways;
  if (nearest.batch) ways.push_back(fmt::format("--batch {}", *nearest.batch));
  if (nearest.context) ways.push_back(fmt::format("--context {}", *nearest.context));
  if (nearest.split)
    ways.push_back(fmt::format("--devices {} --split {}", nearest.split->devices(), split_name(*nearest.split)));
  text += ways.empty() ? "No number of these devices up to 4,096 is enough."
                       : fmt::format("Nearest: {}.", fmt::join(ways, ", or "));
  throw ConfigError(text);
}

// The rows of the article that speak of the same: 70B on eight cards of that kind, shared that way.
std::vector<std::string_view> article_ids(const Machine& machine, const InferenceSetup& setup) {
  if (setup.model != find_preset("llama2-70b")->model || setup.split.devices() != 8) return {};
  const bool h100 = machine.name().find("h100") != std::string::npos, desktop = machine.devices_per_host() == 1;
  const bool rtx4090 = machine.name().find("4090") != std::string::npos;
  if (h100 && setup.split.tp == 8) return {"I07", "I32", "I34", "I43", "I44"};
  if (rtx4090 && desktop && setup.split.pp == 8) return {"I06", "I21", "I48", "I55"};
  if (rtx4090 && desktop && setup.split.tp == 8) return {"I06", "I50", "I51"};
  if (rtx4090 && setup.split.tp == 8) return {"I06", "I29", "I30", "I31", "I35", "I39"};
  if (rtx4090 && setup.split.pp == 8) return {"I06", "I13", "I15", "I16"};
  if (rtx4090 && setup.split.tp == 4) return {"I06", "I53"};
  return {};
}

json article_beside(const Machine& machine, const InferenceSetup& setup) {
  json rows = json::array();
  for (const std::string_view id : article_ids(machine, setup))
    for (const ArticleRow& row : inference_rows())
      if (row.id == id)
        rows.push_back({{"id", row.id}, {"claim", row.claim}, {"article", row.value}, {"unit", row.unit}});
  for (const std::string_view id : article_ids(machine, setup))
    for (const ArticleRow& row : money_rows())
      if (row.id == id)
        rows.push_back({{"id", row.id}, {"claim", row.claim}, {"article", row.value}, {"unit", row.unit}});
  return rows;
}

// The same batch of work shared in other ways.
json other_splits(const Machine& machine, const InferenceSetup& setup) {
  json list = json::array();
  for (const InferenceSplit& shape : possible_splits(setup.model, setup.split.tp * setup.split.pp)) {
    InferenceSplit split = shape;
    split.replicas = setup.split.replicas;
    InferenceSetup other = inference_on(machine, setup.model, split, setup.context, setup.batch);
    other.usd_per_hour = setup.usd_per_hour;
    const InferenceSize size = size_inference(other);
    if (!size.fits) continue;
    list.push_back({{"tp", split.tp},
                    {"pp", split.pp},
                    {"batch", size.batch},
                    {"sequences", size.sequences},
                    {"latency_s", size.latency_s},
                    {"tokens_per_s", size.tokens_per_s},
                    {"tokens_per_s_per_user", size.tokens_per_s_per_user},
                    {"tokens_per_usd", usd(size.tokens_per_usd)},
                    {"bound", name(size.bound)}});
  }
  return list;
}

}  // namespace

json inference_json(const std::string& model_name, const Machine& machine, const InferenceSetup& setup) {
  const InferenceSize size = size_inference(setup);
  if (!size.fits) throw_too_large(machine, setup, size);
  return {{"model", model_name},
          {"cluster", machine.name()},
          {"cluster_what", machine.about()},
          {"devices", setup.split.devices()},
          {"tp", setup.split.tp},
          {"pp", setup.split.pp},
          {"replicas", setup.split.replicas},
          {"context", setup.context},
          {"network_gbit", machine.network_gbit()},
          {"weights_bytes", size.weights_bytes},
          {"kv_bytes_per_sequence", size.kv_bytes_per_sequence},
          {"memory_bytes", size.memory_bytes()},
          {"memory",
           {{"weights_bytes", size.device_weights_bytes},
            {"kv_bytes", size.device_kv_bytes},
            {"activation_bytes", size.device_activation_bytes},
            {"usable_bytes", setup.device.memory_bytes}}},
          {"batch", size.batch},
          {"balance_batch", size.balance_batch},
          {"max_batch", size.max_batch},
          {"sequences", size.sequences},
          {"latency_s", size.latency_s},
          {"latency",
           {{"compute_s", size.compute_s},
            {"weights_s", size.weights_s},
            {"kv_s", size.kv_s},
            {"all_reduce_s", size.all_reduce_s},
            {"hop_s", size.hop_s}}},
          {"tokens_per_s", size.tokens_per_s},
          {"tokens_per_s_per_user", size.tokens_per_s_per_user},
          {"usd_per_hour", setup.usd_per_hour},
          {"tokens_per_usd", usd(size.tokens_per_usd)},
          {"bound", name(size.bound)},
          {"splits", other_splits(machine, setup)},
          {"article", article_beside(machine, setup)}};
}

std::string inference_text(const json& i) {
  const auto number = [](const json& value) { return value.is_null() ? "-" : short_number(value.get<double>()); };
  const auto bytes = [](const json& value) { return format_bytes(static_cast<int64_t>(value.get<double>())); };
  const auto ms = [](const json& value) { return short_number(value.get<double>() * 1e3) + " ms"; };
  const auto word = [](const json& value) { return value.get<std::string>(); };
  std::string text = fmt::format(
      "{} on {} x {} (tp {}, pp {}, {}), {} tokens of context\n"
      "{} tokens a second for each user, {} for all {} at once; {} is what bounds it.\n"
      "{} tokens for a USD at {} USD an hour.\n\n",
      word(i["model"]), number(i["devices"]), word(i["cluster"]), number(i["tp"]), number(i["pp"]),
      i["replicas"] == 1 ? "one replica" : number(i["replicas"]) + " replicas", number(i["context"]),
      number(i["tokens_per_s_per_user"]), number(i["tokens_per_s"]), number(i["sequences"]), word(i["bound"]),
      number(i["tokens_per_usd"]), number(i["usd_per_hour"]));
  const json &memory = i["memory"], &latency = i["latency"];
  text += fmt::format("{:<8} {}\n", "cluster", word(i["cluster_what"]));
  text += fmt::format("{:<8} weights {} in all, cache {} a sequence\n", "model", bytes(i["weights_bytes"]),
                      bytes(i["kv_bytes_per_sequence"]));
  text += fmt::format("{:<8} {} of {}: weights {}, caches {}, activations {}\n", "device", bytes(i["memory_bytes"]),
                      bytes(memory["usable_bytes"]), bytes(memory["weights_bytes"]), bytes(memory["kv_bytes"]),
                      bytes(memory["activation_bytes"]));
  text +=
      fmt::format("{:<8} {} sequences in a stage; arithmetic and reading weights balance at {}, memory holds {}\n",
                  "batch", number(i["batch"]), number(i["balance_batch"]), number(i["max_batch"]));
  text +=
      fmt::format("{:<8} {}: arithmetic {} beside reading weights {}, then caches {}, all-reduces {}, hops {}\n",
                  "token", ms(i["latency_s"]), ms(latency["compute_s"]), ms(latency["weights_s"]),
                  ms(latency["kv_s"]), ms(latency["all_reduce_s"]), ms(latency["hop_s"]));
  text += fmt::format("\n{:>3} {:>3} {:>6} {:>9} {:>11} {:>12} {:>12} {:>14}  {}\n", "tp", "pp", "batch",
                      "sequences", "latency", "tok/s each", "tok/s all", "tok/USD", "bound");
  for (const json& split : i["splits"])
    text += fmt::format("{:>3} {:>3} {:>6} {:>9} {:>11} {:>12} {:>12} {:>14}  {}\n", number(split["tp"]),
                        number(split["pp"]), number(split["batch"]), number(split["sequences"]),
                        ms(split["latency_s"]), number(split["tokens_per_s_per_user"]),
                        number(split["tokens_per_s"]), number(split["tokens_per_usd"]), word(split["bound"]));
  if (!i["article"].empty()) text += "\nThe article says of the same (plan_llama article has what became of it):\n";
  for (const json& row : i["article"])
    text += fmt::format("  {}  {}: {} {}\n", word(row["id"]), word(row["claim"]), number(row["article"]),
                        word(row["unit"]));
  text +=
      "\nRates of the data sheet, links as measured: what kernels reach is less. The prompt's own pass, launches "
      "and the host are not in it.\n";
  return text;
}

}  // namespace trine
