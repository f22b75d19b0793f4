#include "analysis/planner/planner_report.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "analysis/machine.h"
#include "analysis/numbers.h"
#include "base/text.h"
#include "plan/config/flag_values.h"

namespace trine {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kPurchaseDays = kPurchaseYears * 365;
constexpr const char* kLegend =
    "  tp, pp, dp: devices that share each layer, the layers, the batch. vpp: pieces of the pipeline on each "
    "device. mb:\n"
    "  sequences of a microbatch. recompute: what backward computes again to save memory. zero 1: the optimizer's "
    "state is\n"
    "  split over dp. MFU: the model's arithmetic against the devices' peak. GiB: of the fullest device.\n";

RunInputs run_of(const PlanQuestion& question, const RunWish& wish, double tokens_per_s) {
  const Machine machine(question.profile);
  RunInputs run{.devices = static_cast<double>(question.devices),
                .compute_days = wish.tokens / tokens_per_s / 86400,
                .host = machine.host_cost(),
                .usd_per_device_hour = wish.usd_per_device_hour,
                .recovery_min = wish.recovery_min,
                .checkpoint_min = wish.checkpoint_min};
  run.disk = {.bytes = checkpoint_bytes(static_cast<double>(parameter_count(question.base.model))),
              .hosts = static_cast<double>(machine.hosts(question.devices))};
  return run;
}

RunOutcome outcome_of(const PlanQuestion& question, const RunWish& wish, double tokens_per_s) {
  const RunInputs run = run_of(question, wish, tokens_per_s);
  // Nothing ever fails: a failure in a million years, and checkpoints for nothing.
  if (!wish.failure_device_hours) return run_outcome(run, 1e10 * run.devices, 0, 0);
  return run_outcome(run, *wish.failure_device_hours, wish.recovery_min.value_or(run.disk.recovery_min()),
                     wish.checkpoint_min.value_or(run.disk.checkpoint_min()));
}

// Days and USD of the whole run.
void add_run(const PlanQuestion& question, const RunWish& wish, double tokens_per_s, Json& json) {
  json["days"] = nullptr, json["usd"] = nullptr;
  if (wish.tokens <= 0) return;
  const RunOutcome outcome = outcome_of(question, wish, tokens_per_s);
  if (outcome.days) json["days"] = *outcome.days;
  if (outcome.usd) json["usd"] = *outcome.usd;
  if (wish.failure_device_hours) {
    json["goodput"] = outcome.goodput;
    json["spare_hosts"] = outcome.spare_hosts;
  }
}

// Of all hosts, spare ones included, new.
double purchase_usd(const PlanQuestion& question, const RunOutcome& run) {
  const Machine machine(question.profile);
  return machine.purchase_usd(question.devices) + machine.host_cost().usd() * static_cast<double>(run.spare_hosts);
}

// Of the best plan, for all that the run takes.
Json run_json(const PlanQuestion& question, const RunWish& wish, const PlannedLayout& best,
              const PredictionCertainty& certainty) {
  if (wish.tokens <= 0) return nullptr;
  const RunOutcome out = outcome_of(question, wish, best.tokens_per_s);
  Json json = {{"tokens", wish.tokens}, {"ends", out.days.has_value()}};
  json["usd_per_device_hour"] = wish.usd_per_device_hour ? Json(*wish.usd_per_device_hour) : Json(nullptr);
  if (out.days) {
    json["days"] = *out.days;
    json["low_days"] = *out.days * certainty.low, json["high_days"] = *out.days * certainty.high;
    json["usd"] = out.usd ? Json(*out.usd) : Json(nullptr);
    json["purchase_usd"] = nullptr;
    if (out.usd && !wish.usd_per_device_hour) json["purchase_usd"] = purchase_usd(question, out);
    json["kwh"] = *out.kwh;
  }
  json["failures"] = nullptr;
  if (wish.failure_device_hours)
    json["failures"] = {{"device_hours_per_failure", *wish.failure_device_hours},
                        {"source", wish.failure_source},
                        {"hours_between_failures", out.between_failures_h},
                        {"goodput", out.goodput},
                        {"interval_min", out.interval_min},
                        {"recovery_min", out.recovery_min},
                        {"checkpoint_min", out.checkpoint_min},
                        {"spare_hosts", out.spare_hosts}};
  return json;
}

Json layout_json(const PlanQuestion& question, const PlannedLayout& plan, const RunWish& wish, double best_s) {
  const Layout& l = plan.layout;
  Json json = {{"tp", l.tp},
               {"pp", l.pp},
               {"vpp", l.vpp},
               {"dp", l.dp},
               {"micro_batch", l.micro_batch},
               {"schedule", name(l.schedule)},
               {"recompute", ValueText<Recompute>::print(l.recompute)},
               {"zero", l.zero},
               {"step_s", plan.step_s},
               {"mfu", plan.mfu},
               {"memory_bytes", plan.memory_bytes},
               {"tokens_per_s", plan.tokens_per_s}};
  add_run(question, wish, plan.tokens_per_s, json);
  json["command"] = command_of(question, l);
  double exposed_s = 0;
  for (const EventKind kind : kCommKinds) exposed_s += plan.mean[kind];
  json["exposed_share"] = exposed_s / plan.step_s;
  json["bubble_share"] = plan.mean[EventKind::kBubble] / plan.step_s;
  json["slower"] = plan.step_s / best_s - 1;
  return json;
}

// "1.2e+12" is no number for people.
std::string tokens_text(double tokens) {
  if (tokens >= 1e12) return short_number(tokens / 1e12) + " trillion tokens";
  if (tokens >= 1e9) return short_number(tokens / 1e9) + " billion tokens";
  return format_count(std::llround(tokens)) + (tokens == 1 ? " token" : " tokens");
}

std::string money(const Json& usd) { return usd.is_null() ? "-" : usd_number(usd.get<double>()); }

std::string energy(double kwh) {
  return kwh >= 1000 ? short_number(kwh / 1e3) + " MWh" : short_number(kwh) + " kWh";
}

// A column of days: "86.8", "0.0402".
std::string days_number(const Json& days) {
  if (days.is_null()) return "-";
  const double value = days.get<double>();
  return value < 10 ? fmt::format("{:.3g}", value) : fmt::format("{:.1f}", value);
}

std::string table_head() {
  return fmt::format(
      "  {:>3} {:>3} {:>5} {:>3} {:>3} {:<12} {:<10} {:>4} {:>9} {:>7} {:>6} {:>10} {:>8} {:>8} {:>13}\n", "tp",
      "pp", "dp", "vpp", "mb", "schedule", "recompute", "zero", "step, s", "slower", "MFU", "tokens/s", "GiB",
      "days", "USD");
}

std::string table_line(const Json& plan) {
  return fmt::format(
      "  {:>3} {:>3} {:>5} {:>3} {:>3} {:<12} {:<10} {:>4} {:>9.4g} {:>5.1f} % {:>4.1f} % {:>8} {:>8.1f} {:>8} "
      "{:>13}\n",
      plan["tp"].get<int>(), plan["pp"].get<int>(), plan["dp"].get<int>(), plan["vpp"].get<int>(),
      plan["micro_batch"].get<int64_t>(), plan["pp"] > 1 ? plan["schedule"].get<std::string>() : "-",
      plan["recompute"].get<std::string>(), plan["zero"].get<int>(), plan["step_s"].get<double>(),
      100 * plan["slower"].get<double>(), 100 * plan["mfu"].get<double>(),
      format_count(static_cast<int64_t>(plan["tokens_per_s"].get<double>())),
      plan["memory_bytes"].get<double>() / (1 << 30), days_number(plan["days"]), money(plan["usd"]));
}

std::string layout_text(const Json& plan) {
  std::string text =
      fmt::format("tp {} pp {} dp {}", plan["tp"].get<int>(), plan["pp"].get<int>(), plan["dp"].get<int>());
  if (plan["pp"].get<int>() > 1) text += fmt::format(", {}", plan["schedule"].get<std::string>());
  if (plan["vpp"].get<int>() > 1) text += fmt::format(" vpp {}", plan["vpp"].get<int>());
  text += fmt::format(", micro-batch {}, recompute {}", plan["micro_batch"].get<int64_t>(),
                      plan["recompute"].get<std::string>());
  if (plan["dp"].get<int>() > 1) text += fmt::format(", zero {}", plan["zero"].get<int>());
  return text;
}

std::string best_sentence(const Json& json) {
  const Json& best = json["plans"][0];
  return fmt::format(
      "The fastest of the layouts looked at: {}: {:.3g} s a step ({:.3g} to {:.3g} s), {} tokens/s, {:.1f} % of "
      "the "
      "devices' peak (MFU); it needs {:.1f} of {:.1f} GiB.",
      layout_text(best), best["step_s"].get<double>(), json["certainty"]["low_s"].get<double>(),
      json["certainty"]["high_s"].get<double>(),
      format_count(static_cast<int64_t>(best["tokens_per_s"].get<double>())), 100 * best["mfu"].get<double>(),
      best["memory_bytes"].get<double>() / (1 << 30), json["plannable_bytes"].get<double>() / (1 << 30));
}

std::string stall_sentence(const Json& json) {
  const Json& best = json["plans"][0];
  std::string text = fmt::format(
      "Of the step {:.1f} % is communication that nothing hides, {:.1f} % the pipeline's bubble (waiting that its "
      "order "
      "makes).",
      100 * best["exposed_share"].get<double>(), 100 * best["bubble_share"].get<double>());
  if (json["plans"].size() > 1)
    text += fmt::format(" The second best takes {:.1f} % longer: {}.",
                        100 * json["plans"][1]["slower"].get<double>(), layout_text(json["plans"][1]));
  return text;
}

std::string run_sentence(const Json& json) {
  const Json& run = json["run"];
  const std::string tokens = tokens_text(run["tokens"].get<double>());
  const Json& f = run["failures"];
  if (!run["ends"].get<bool>())
    return fmt::format("The run of {} never ends: a failure comes every {} h, sooner than it recovers ({} min).",
                       tokens, short_number(f["hours_between_failures"].get<double>()),
                       short_number(f["recovery_min"].get<double>()));
  const double days = run["days"].get<double>();
  const TimeUnit unit = unit_of_days(days);
  std::string text =
      fmt::format("{} take {} ({} to {}) and {}", tokens, days_text(days),
                  rough_number(run["low_days"].get<double>() * unit.per_day),
                  rough_number(run["high_days"].get<double>() * unit.per_day), energy(run["kwh"].get<double>()));
  if (!run["usd"].is_null()) {
    const Json& rent = run["usd_per_device_hour"];
    text += fmt::format(", {} USD: {}", money(run["usd"]),
                        rent.is_null()
                            ? fmt::format("its share of hosts for {} USD{} written off over 3 years, and power",
                                          money(run["purchase_usd"]), f.is_null() ? "" : ", spare ones too,")
                            : fmt::format("rent at {:g} USD a device and hour", rent.get<double>()));
  }
  if (!run["usd"].is_null() && run["usd_per_device_hour"].is_null() && days > kPurchaseDays)
    text += "; that is longer than the 3 years over which a purchase is written off";
  if (f.is_null()) return text + "; nothing fails (--failures says more).";
  text += ". With failures: ";
  text += fmt::format(
      "one every {} h (a failure in {} device-hours), {} min to recover, checkpoints of {} min: {:.1f} % of the "
      "time is "
      "progress at best, with a checkpoint every {} min and {} spare host{}.",
      short_number(f["hours_between_failures"].get<double>()),
      short_number(f["device_hours_per_failure"].get<double>()), short_number(f["recovery_min"].get<double>()),
      short_number(f["checkpoint_min"].get<double>()), 100 * f["goodput"].get<double>(),
      short_number(f["interval_min"].get<double>()), f["spare_hosts"].get<int>(), f["spare_hosts"] == 1 ? "" : "s");
  return text;
}

}  // namespace

std::string command_of(const PlanQuestion& question, const Layout& layout) {
  const Config& base = question.base;
  return fmt::format("mpirun -np {} train_llama --model {} --global-batch {} --seq {} {}{}{}", question.devices,
                     base.model_name, base.global_batch, base.seq, flags_of(layout), question.flags,
                     question.profile.is_cpu() ? "" : " --device cuda");
}

Json planner_json(const PlanQuestion& question, const PlanAnswer& answer, const RunWish& wish, size_t top) {
  Json json = {{"cluster", question.profile.name},
               {"device", question.profile.device.name},
               {"devices", question.devices},
               {"model", question.base.model_name},
               {"global_batch", question.base.global_batch},
               {"seq", question.base.seq},
               {"plannable_bytes", question.profile.device.plannable_bytes()},
               {"searched", answer.searched},
               {"simulated", answer.simulated},
               {"seconds", answer.seconds},
               {"left_out", answer.left_out}};
  json["plans"] = json["pareto"] = json["sensitivity"] = Json::array();
  json["nearest"] = json["run"] = nullptr;
  json["answer"] = Json::array();
  if (answer.plans.empty()) {
    if (answer.nearest.memory_bytes > 0)
      json["nearest"] = {{"layout", to_string(answer.nearest.layout)},
                         {"memory_bytes", answer.nearest.memory_bytes},
                         {"command", command_of(question, answer.nearest.layout)}};
    return json;
  }
  const double best_s = answer.plans[0].step_s;
  for (size_t i = 0; i < answer.plans.size() && i < top; ++i)
    json["plans"].push_back(layout_json(question, answer.plans[i], wish, best_s));
  for (const PlannedLayout& plan : answer.pareto)
    json["pareto"].push_back(layout_json(question, plan, wish, best_s));
  for (const Sensitivity& one : answer.sensitivity)
    json["sensitivity"].push_back({{"choice", one.choice},
                                   {"value", one.value},
                                   {"step_s", one.step_s},
                                   {"slower", one.step_s / best_s - 1}});
  const PredictionCertainty certainty = certainty_of(question.profile);
  json["certainty"] = {
      {"class", certainty.kind}, {"low_s", best_s * certainty.low}, {"high_s", best_s * certainty.high}};
  json["run"] = run_json(question, wish, answer.plans[0], certainty);
  json["answer"] = {best_sentence(json), stall_sentence(json)};
  if (!json["run"].is_null()) json["answer"].insert(json["answer"].begin() + 1, run_sentence(json));
  return json;
}

std::string planner_text(const Json& json) {
  std::string text =
      fmt::format("{} on {} x {} ({}): {} sequence{} of {} tokens a step\n", json["model"].get<std::string>(),
                  format_count(json["devices"].get<int64_t>()), json["device"].get<std::string>(),
                  json["cluster"].get<std::string>(), format_count(json["global_batch"].get<int64_t>()),
                  json["global_batch"] == 1 ? "" : "s", format_count(json["seq"].get<int64_t>()));
  for (const Json& sentence : json["answer"]) text += fmt::format("  {}\n", sentence.get<std::string>());
  text += "\n" + table_head();
  for (const Json& plan : json["plans"]) text += table_line(plan);
  text += kLegend;
  if (json["pareto"].size() > 1) {
    text += "\nless memory for more time (the Pareto front)\n" + table_head();
    for (const Json& plan : json["pareto"]) text += table_line(plan);
  }
  if (!json["sensitivity"].empty()) {
    text += "\nhow much longer the best step is with another choice\n";
    std::string choice;
    for (const Json& one : json["sensitivity"]) {
      const bool is_new = one["choice"] != choice;
      if (is_new) text += fmt::format("{}  {:<12}", choice.empty() ? "" : "\n", one["choice"].get<std::string>());
      choice = one["choice"].get<std::string>();
      text += fmt::format("{}{}: {:+.1f} %", is_new ? "" : ", ", one["value"].get<std::string>(),
                          100 * one["slower"].get<double>());
    }
    text += "\n";
  }
  text += "\nto run it\n";
  std::vector<std::string> commands;
  for (const char* const list : {"plans", "pareto"})
    for (const Json& plan : json[list])
      if (const auto command = plan["command"].get<std::string>();
          std::ranges::find(commands, command) == commands.end())
        commands.push_back(command);
  text += fmt::format("  {}\n", fmt::join(commands, "\n  "));
  text +=
      fmt::format("\n{} layouts looked at, {} simulated, {:.1f} s", format_count(json["searched"].get<int64_t>()),
                  format_count(json["simulated"].get<int64_t>()), json["seconds"].get<double>());
  for (const auto& [why, count] : json["left_out"].items())
    text += fmt::format("; {}: {}", format_count(count.get<int64_t>()), why);
  return text + "\n";
}

void add_savings(const PlanQuestion& question, const RunWish& wish, const PlannedLayout& best,
                 std::vector<WhatIf>& list) {
  if (wish.usd_per_device_hour)
    for (WhatIf& one : list)
      if (one.price.usd != 0.0) one.token_cost_change.reset();
  if (wish.tokens <= 0) return;
  const RunOutcome run = outcome_of(question, wish, best.tokens_per_s);
  if (!run.days) return;
  for (WhatIf& one : list) {
    one.days_saved = *run.days * one.gain_s / best.step_s;
    if (run.usd && one.token_cost_change) one.usd_saved = -*one.token_cost_change * *run.usd;
  }
}

std::string comparison_text(const Json& clusters) {
  const auto layout_of = [](const Json& json) {
    if (!json["plans"].empty()) return layout_text(json["plans"][0]);
    if (json["nearest"].is_null()) return std::string("no layout: heads, layers or batch do not divide");
    return fmt::format("does not fit: the nearest needs {:.1f} of {:.1f} GiB",
                       json["nearest"]["memory_bytes"].get<double>() / (1 << 30),
                       json["plannable_bytes"].get<double>() / (1 << 30));
  };
  size_t width = 0;
  for (const Json& json : clusters) width = std::max(width, layout_of(json).size());
  std::string text =
      fmt::format("  {:<18} {:<{}} {:>9} {:>7} {:>11} {:>9} {:>9} {:>14} {:>14}\n", "cluster", "best layout", width,
                  "step, s", "MFU", "tokens/s", "exposed", "days", "USD", "Mtokens/USD");
  for (const Json& json : clusters) {
    text += fmt::format("  {:<18} {:<{}}", json["cluster"].get<std::string>(), layout_of(json), width);
    if (!json["plans"].empty()) {
      const Json& best = json["plans"][0];
      text += fmt::format(
          " {:>9.4g} {:>5.1f} % {:>11} {:>7.1f} % {:>9} {:>14} {:>14}", best["step_s"].get<double>(),
          100 * best["mfu"].get<double>(), format_count(static_cast<int64_t>(best["tokens_per_s"].get<double>())),
          100 * best["exposed_share"].get<double>(), days_number(best["days"]), money(best["usd"]),
          json["million_tokens_per_usd"].is_null() ? "-"
                                                   : rough_number(json["million_tokens_per_usd"].get<double>()));
    }
    while (text.ends_with(' ')) text.pop_back();
    text += '\n';
  }
  return text;
}

}  // namespace trine
