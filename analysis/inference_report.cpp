#include "analysis/inference_report.h"

#include <cmath>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "analysis/article/article.h"
#include "analysis/numbers.h"
#include "analysis/prices.h"
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
  setup.usd_per_hour = price_hour ? *price_hour * devices : machine.usd_per_hour(devices);
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
  if (h100 && setup.split.tp == 8) return {"I08", "I07", "I32", "I33", "I34", "I43", "I44", "I45"};
  if (rtx4090 && desktop && setup.split.pp == 8) return {"I08", "I06", "I17", "I20", "I21", "I48", "I55"};
  if (rtx4090 && desktop && setup.split.tp == 8) return {"I08", "I06", "I50", "I51"};
  if (rtx4090 && setup.split.tp == 8) return {"I08", "I06", "I28", "I29", "I30", "I31", "I35", "I39"};
  if (rtx4090 && setup.split.pp == 8) return {"I08", "I06", "I13", "I14", "I15"};
  if (rtx4090 && setup.split.tp == 4) return {"I08", "I06", "I53"};
  return {};
}

json article_beside(const Machine& machine, const InferenceSetup& setup) {
  json rows = json::array();
  const std::vector<std::string_view> ids = article_ids(machine, setup);
  if (ids.empty()) return rows;
  const ArticleInputs inputs = article_inputs();
  const json all = article_json(evaluate_article(inputs, inputs, today_inputs()));
  for (const std::string_view id : ids)
    for (const json& row : all["rows"])
      if (row["id"] == id)
        rows.push_back({{"id", id},
                        {"claim", row["claim"]},
                        {"article", row["article"]},
                        {"today", row["realistic"]},
                        {"unit", row["unit"]},
                        {"today_unit", row["realistic_unit"]},
                        {"why", row["why"]}});
  return rows;
}

void add_times(const InferenceSize& size, json& row) {
  row["latency_s"] = size.latency_s;
  row["tokens_per_s"] = size.tokens_per_s;
  row["tokens_per_s_per_user"] = size.tokens_per_s_per_user;
  row["tokens_per_usd"] = usd(size.tokens_per_usd);
  row["bound"] = name(size.bound);
}

// The same with another NIC in each host, where stages or groups meet over the network.
json other_networks(const Machine& machine, const InferenceSetup& setup) {
  json list = json::array();
  const int replica = setup.split.tp * setup.split.pp, hosts = machine.hosts(setup.split.devices());
  if (replica <= machine.devices_per_host()) return list;
  const double bought = machine.usd_per_hour(setup.split.devices());
  const bool rented = std::abs(setup.usd_per_hour - bought) > 1e-9 * bought;
  const std::optional<double> now_usd = nic_usd(machine.network_gbit());
  for (const double gbit : {1, 10, 25, 100, 200}) {
    InferenceSetup other =
        inference_on(machine.with_network(gbit), setup.model, setup.split, setup.context, setup.batch);
    const std::optional<double> usd_of_nic = nic_usd(gbit);
    const bool is_now = gbit == machine.network_gbit(), priced = is_now || (!rented && now_usd && usd_of_nic);
    other.usd_per_hour =
        !priced ? 0 : setup.usd_per_hour + (is_now ? 0 : purchase_usd_per_hour(hosts * (*usd_of_nic - *now_usd)));
    const InferenceSize size = size_inference(other);
    list.push_back({{"gbit", gbit}});
    add_times(size, list.back());
  }
  return list;
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
    list.push_back({{"tp", split.tp}, {"pp", split.pp}, {"batch", size.batch}, {"sequences", size.sequences}});
    add_times(size, list.back());
  }
  return list;
}

constexpr double kWritesMore = 1.05;

// Another split that writes clearly more than the one at hand; nullptr: none does.
const json* better_split(const json& i) {
  const json* best = nullptr;
  if (i["sequences"] == 1) return best;  // of one user the latency counts
  for (const json& split : i["splits"])
    if (split["tokens_per_s"].get<double>() > kWritesMore * i["tokens_per_s"].get<double>() &&
        (!best || split["tokens_per_s"].get<double>() > (*best)["tokens_per_s"].get<double>()))
      best = &split;
  return best;
}

}  // namespace

json inference_json(const std::string& model_name, const Machine& machine, const InferenceSetup& setup) {
  const InferenceSize size = size_inference(setup);
  if (!size.fits) throw_too_large(machine, setup, size);
  const double row_bytes = activation_bytes(1, static_cast<double>(setup.model.hidden));
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
          {"all_reduce",
           {{"count", setup.split.tp > 1 ? all_reduces_per_token(static_cast<double>(setup.model.layers)) : 0},
            {"one_sequence_s", setup.split.tp > 1 ? setup.all_reduce_s(row_bytes) : 0},
            {"batch_s", setup.split.tp > 1 ? setup.all_reduce_s(row_bytes * static_cast<double>(size.batch)) : 0}}},
          {"heads", setup.model.heads},
          {"kv_heads", setup.model.kv_heads},
          {"splits", other_splits(machine, setup)},
          {"networks", other_networks(machine, setup)},
          {"article", article_beside(machine, setup)}};
}

std::string inference_text(const json& i) {
  const auto number = [](const json& value) { return value.is_null() ? "-" : short_number(value.get<double>()); };
  const auto bytes = [](const json& value) { return format_bytes(static_cast<int64_t>(value.get<double>())); };
  const auto ms = [](const json& value) { return short_number(value.get<double>() * 1e3) + " ms"; };
  const auto word = [](const json& value) { return value.get<std::string>(); };
  std::string text = fmt::format(
      "{} on {} x {} (tp {}, pp {}, {}), {} tokens of context\n"
      "{} tokens a second for {}; {} is what bounds it.\n"
      "{} tokens for a USD at {} USD an hour.\n",
      word(i["model"]), number(i["devices"]), word(i["cluster"]), number(i["tp"]), number(i["pp"]),
      i["replicas"] == 1 ? "one replica" : number(i["replicas"]) + " replicas", number(i["context"]),
      number(i["tokens_per_s_per_user"]),
      i["sequences"] == 1
          ? "one user alone"
          : fmt::format("each user, {} for all {} at once", number(i["tokens_per_s"]), number(i["sequences"])),
      word(i["bound"]), number(i["tokens_per_usd"]), number(i["usd_per_hour"]));
  if (const json* split = better_split(i))
    text +=
        fmt::format("Another split writes more in all: --split {}x{}, {} tokens a second for {}, {} for each.\n",
                    number((*split)["tp"]), number((*split)["pp"]), number((*split)["tokens_per_s"]),
                    number((*split)["sequences"]), number((*split)["tokens_per_s_per_user"]));
  text += "\n";
  const json &memory = i["memory"], &latency = i["latency"];
  text += fmt::format("{:<8} {}\n", "cluster", word(i["cluster_what"]));
  text += fmt::format("{:<8} weights {} in all, cache {} GiB a sequence ({} kv heads for {} heads)\n", "model",
                      bytes(i["weights_bytes"]), short_number(i["kv_bytes_per_sequence"].get<double>() / (1 << 30)),
                      number(i["kv_heads"]), number(i["heads"]));
  text += fmt::format("{:<8} {} of {}: weights {}, caches {}, activations {}\n", "device", bytes(i["memory_bytes"]),
                      bytes(memory["usable_bytes"]), bytes(memory["weights_bytes"]), bytes(memory["kv_bytes"]),
                      bytes(memory["activation_bytes"]));
  text += fmt::format(
      "{:<8} {} sequence{} in a stage; arithmetic and reading weights balance at {}, memory holds {}\n", "batch",
      number(i["batch"]), i["batch"] == 1 ? "" : "s", number(i["balance_batch"]), number(i["max_batch"]));
  text +=
      fmt::format("{:<8} {}: arithmetic {} beside reading weights {}, then caches {}, all-reduces {}, hops {}\n",
                  "token", ms(i["latency_s"]), ms(latency["compute_s"]), ms(latency["weights_s"]),
                  ms(latency["kv_s"]), ms(latency["all_reduce_s"]), ms(latency["hop_s"]));
  const auto us = [](const json& value) { return short_number(value.get<double>() * 1e6) + " us"; };
  if (i["tp"] > 1)
    text += fmt::format("{:<8} {} all-reduces a token: {} each, {} if one sequence were alone\n", "links",
                        number(i["all_reduce"]["count"]), us(i["all_reduce"]["batch_s"]),
                        us(i["all_reduce"]["one_sequence_s"]));
  text += fmt::format("\n{:>3} {:>3} {:>6} {:>9} {:>11} {:>12} {:>12} {:>14}  {}\n", "tp", "pp", "batch",
                      "sequences", "latency", "tok/s each", "tok/s all", "tok/USD", "bound");
  for (const json& split : i["splits"])
    text += fmt::format("{:>3} {:>3} {:>6} {:>9} {:>11} {:>12} {:>12} {:>14}  {}\n", number(split["tp"]),
                        number(split["pp"]), number(split["batch"]), number(split["sequences"]),
                        ms(split["latency_s"]), number(split["tokens_per_s_per_user"]),
                        number(split["tokens_per_s"]), number(split["tokens_per_usd"]), word(split["bound"]));
  if (!i["networks"].empty()) {
    text += fmt::format(
        "\nthe same with one NIC of another rate in each host\n{:>8} {:>11} {:>12} {:>12} {:>14}  "
        "{}\n",
        "Gb/s", "latency", "tok/s each", "tok/s all", "tok/USD", "bound");
    for (const json& network : i["networks"])
      text +=
          fmt::format("{:>8} {:>11} {:>12} {:>12} {:>14}  {}\n", number(network["gbit"]), ms(network["latency_s"]),
                      number(network["tokens_per_s_per_user"]), number(network["tokens_per_s"]),
                      number(network["tokens_per_usd"]), word(network["bound"]));
  }
  if (!i["article"].empty())
    text += fmt::format(
        "\nthe article on the same, and what holds today at its own batch, which may not fit here (plan_llama article has all)\n"
        "{:<4} {:>10} {:>10}  {}\n",
        "", "article", "today", "claim");
  for (const json& row : i["article"]) {
    const std::string unit = word(row["unit"]), today_unit = word(row["today_unit"]);
    text += fmt::format("{:<4} {:>10} {:>10}  {}. [{}{}]\n", word(row["id"]), number(row["article"]),
                        number(row["today"]), word(row["claim"]), unit,
                        today_unit == unit ? "" : "; today " + today_unit);
    text += fmt::format("{:>26}  {}\n", "", word(row["why"]));
  }
  text +=
      "\nRates of the data sheet, links as measured: what kernels reach is less. The prompt's own pass, launches "
      "and the host are not in it.\n";
  return text;
}

}  // namespace trine
