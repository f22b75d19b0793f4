#include "analysis/planner/planner_report.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "analysis/machine.h"
#include "analysis/numbers.h"
#include "base/text.h"
#include "plan/config/flag_values.h"

namespace trine {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMostDays = 1e6;

RunInputs run_of(const PlanQuestion& question, const RunWish& wish, double tokens_per_s) {
  const Machine machine(question.profile);
  RunInputs run{.devices = static_cast<double>(question.devices),
                .compute_days = wish.tokens / tokens_per_s / 86400,
                .host = machine.host_cost(question.devices),
                .usd_per_device_hour = wish.usd_per_device_hour,
                .recovery_min = wish.recovery_min,
                .checkpoint_min = wish.checkpoint_min};
  run.disk = {.bytes = checkpoint_bytes(static_cast<double>(parameter_count(question.base.model))),
              .hosts = static_cast<double>(machine.hosts(question.devices))};
  return run;
}

// Days and USD of the whole run.
void add_run(const PlanQuestion& question, const RunWish& wish, double tokens_per_s, Json& json) {
  json["days"] = nullptr, json["usd"] = nullptr;
  if (wish.tokens <= 0) return;
  const RunInputs run = run_of(question, wish, tokens_per_s);
  // Nothing ever fails: a failure in a million years, and checkpoints for nothing.
  const double device_hours = wish.failure_device_hours.value_or(1e10 * run.devices);
  const RunOutcome outcome =
      wish.failure_device_hours
          ? run_outcome(run, device_hours, wish.recovery_min.value_or(run.disk.recovery_min()),
                        wish.checkpoint_min.value_or(run.disk.checkpoint_min()))
          : run_outcome(run, device_hours, 0, 0);
  if (outcome.days < kMostDays) {  // else it never ends: failures come faster than it recovers
    json["days"] = outcome.days;
    if (outcome.usd) json["usd"] = *outcome.usd;
  }
  if (wish.failure_device_hours) {
    json["goodput"] = outcome.goodput;
    json["spare_hosts"] = outcome.spare_hosts;
  }
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

std::string number_or_dash(const Json& value, const char* format) {
  return value.is_null() ? "-" : fmt::format(fmt::runtime(format), value.get<double>());
}

std::string money(const Json& usd) {
  return usd.is_null() ? "-" : format_count(static_cast<int64_t>(usd.get<double>()));
}

std::string table_head() {
  return fmt::format(
      "  {:>3} {:>3} {:>5} {:>3} {:>3} {:<12} {:<10} {:>4} {:>9} {:>7} {:>6} {:>10} {:>8} {:>8} {:>13}\n", "tp",
      "pp", "dp", "vpp", "mb", "schedule", "recompute", "zero", "step, s", "slower", "MFU", "tokens/s", "GiB",
      "days", "USD");
}

std::string table_line(const Json& plan) {
  return fmt::format(
      "  {:>3} {:>3} {:>5} {:>3} {:>3} {:<12} {:<10} {:>4} {:>9.4g} {:>5.1f} % {:>4.1f} % {:>8} {:>8.1f} {:>8} {:>13}\n",
      plan["tp"].get<int>(), plan["pp"].get<int>(), plan["dp"].get<int>(), plan["vpp"].get<int>(),
      plan["micro_batch"].get<int64_t>(), plan["schedule"].get<std::string>(), plan["recompute"].get<std::string>(),
      plan["zero"].get<int>(), plan["step_s"].get<double>(), 100 * plan["slower"].get<double>(),
      100 * plan["mfu"].get<double>(), format_count(static_cast<int64_t>(plan["tokens_per_s"].get<double>())),
      plan["memory_bytes"].get<double>() / (1 << 30), number_or_dash(plan["days"], "{:.1f}"), money(plan["usd"]));
}

std::string layout_text(const Json& plan) {
  std::string text =
      fmt::format("tp {} pp {} dp {}", plan["tp"].get<int>(), plan["pp"].get<int>(), plan["dp"].get<int>());
  if (plan["pp"].get<int>() > 1) text += fmt::format(", {}", plan["schedule"].get<std::string>());
  if (plan["vpp"].get<int>() > 1) text += fmt::format(" vpp {}", plan["vpp"].get<int>());
  return text + fmt::format(", micro-batch {}, recompute {}", plan["micro_batch"].get<int64_t>(),
                            plan["recompute"].get<std::string>());
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
  json["nearest"] = nullptr;
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
  return json;
}

std::string planner_text(const Json& json) {
  std::string text =
      fmt::format("{} on {} x {} ({}): {} sequences of {} tokens a step\n", json["model"].get<std::string>(),
                  format_count(json["devices"].get<int64_t>()), json["device"].get<std::string>(),
                  json["cluster"].get<std::string>(), format_count(json["global_batch"].get<int64_t>()),
                  format_count(json["seq"].get<int64_t>()));
  const Json& best = json["plans"][0];
  text += fmt::format(
      "best: {}: {:.3g} s a step ({:.3g} to {:.3g} s), {} tokens/s, MFU {:.1f} %, {:.1f} of {:.1f} GiB; {:.1f} % is "
      "communication that nothing hides, {:.1f} % bubble\n",
      layout_text(best), best["step_s"].get<double>(), json["certainty"]["low_s"].get<double>(),
      json["certainty"]["high_s"].get<double>(),
      format_count(static_cast<int64_t>(best["tokens_per_s"].get<double>())), 100 * best["mfu"].get<double>(),
      best["memory_bytes"].get<double>() / (1 << 30), json["plannable_bytes"].get<double>() / (1 << 30),
      100 * best["exposed_share"].get<double>(), 100 * best["bubble_share"].get<double>());
  if (json["plans"].size() > 1)
    text += fmt::format("the second best takes {:.1f} % longer: {}\n",
                        100 * json["plans"][1]["slower"].get<double>(), layout_text(json["plans"][1]));
  text += "\n" + table_head();
  for (const Json& plan : json["plans"]) text += table_line(plan);
  if (json["pareto"].size() > 1) {
    text += "\nless memory for more time\n" + table_head();
    for (const Json& plan : json["pareto"]) text += table_line(plan);
  }
  if (!json["sensitivity"].empty()) {
    text += "\nthe best with another choice\n";
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
  for (size_t i = 0; i < json["plans"].size() && i < 3; ++i)
    text += fmt::format("  {}\n", json["plans"][i]["command"].get<std::string>());
  text +=
      fmt::format("\n{} layouts looked at, {} simulated, {:.1f} s", format_count(json["searched"].get<int64_t>()),
                  format_count(json["simulated"].get<int64_t>()), json["seconds"].get<double>());
  for (const auto& [why, count] : json["left_out"].items())
    text += fmt::format("; {}: {}", format_count(count.get<int64_t>()), why);
  return text + "\n";
}

std::string comparison_text(const Json& clusters) {
  std::string text =
      fmt::format("  {:<18} {:<52} {:>9} {:>7} {:>11} {:>9} {:>9} {:>14} {:>14}\n", "cluster", "best layout",
                  "step, s", "MFU", "tokens/s", "exposed", "days", "USD", "Mtokens/USD");
  for (const Json& json : clusters) {
    if (json["plans"].empty()) {
      text += fmt::format("  {:<18} {}\n", json["cluster"].get<std::string>(), "does not fit");
      continue;
    }
    const Json& best = json["plans"][0];
    const Json& rate = json["million_tokens_per_usd"];
    text += fmt::format("  {:<18} {:<52} {:>9.4g} {:>5.1f} % {:>11} {:>7.1f} % {:>9} {:>14} {:>14}\n",
                        json["cluster"].get<std::string>(), layout_text(best), best["step_s"].get<double>(),
                        100 * best["mfu"].get<double>(),
                        format_count(static_cast<int64_t>(best["tokens_per_s"].get<double>())),
                        100 * best["exposed_share"].get<double>(), number_or_dash(best["days"], "{:.1f}"),
                        money(best["usd"]), number_or_dash(rate, "{:.3g}"));
  }
  return text;
}

}  // namespace trine
