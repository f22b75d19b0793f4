// plan_llama --model M --cluster C --devices N: which layout trains fastest, and what it takes.
#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>

#include "analysis/machine.h"
#include "analysis/planner/fixed_choices.h"
#include "analysis/planner/planner_report.h"
#include "analysis/prediction_report.h"
#include "analysis/report/html.h"
#include "base/program.h"
#include "base/text.h"
#include "examples/plan_commands.h"
#include "plan/config/flag_table.h"
#include "plan/config/flag_values.h"
#include "plan/config/flags.h"

namespace trine {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMostDevices = 32'768;  // more take minutes

struct Request {
  std::string models = "llama2-70b", clusters = "rtx4090", failures;
  std::vector<std::string> changes, fixes;
  int devices = 0;
  int64_t global_batch = 0, seq = 0;
  double tokens = 0, recovery = 0, checkpoint = 0, price_hour = 0;
  std::string html;
  int top = 5;
  bool as_json = false;
};

std::vector<std::string> parts_of(const std::string& list) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= list.size();) {
    const size_t end = std::min(list.find(',', at), list.size());
    if (end > at) parts.push_back(list.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

template <typename T>
void take(std::optional<T>& into, const std::string& key, const std::string& value, Problems& problems) {
  into = ValueText<T>::parse(value);
  if (!into) problems.add("--fix", "{} is {}, need {}.", key, value, ValueText<T>::needs());
}

// Takes a choice of a layout; false: it is another flag of train_llama.
bool take_choice(const std::string& key, const std::string& value, FixedChoices& fixed, Problems& problems) {
  if (key == "tp")
    take(fixed.tp, key, value, problems);
  else if (key == "pp")
    take(fixed.pp, key, value, problems);
  else if (key == "dp")
    take(fixed.dp, key, value, problems);
  else if (key == "vpp")
    take(fixed.vpp, key, value, problems);
  else if (key == "zero")
    take(fixed.zero, key, value, problems);
  else if (key == "micro-batch")
    take(fixed.micro_batch, key, value, problems);
  else if (key == "schedule")
    take(fixed.schedule, key, value, problems);
  else if (key == "recompute")
    take(fixed.recompute, key, value, problems);
  else
    return false;
  return true;
}

// Why a flag of train_llama is not one that a layout may fix; empty: it is.
std::string not_to_fix(const std::string& key) {
  for (const char* own : {"model", "cluster", "set", "seq", "global-batch"})
    if (key == own) return fmt::format("give --{} itself.", own);
  if (key == "ranks" || key == "local-ranks") return "give --devices.";
  if (key == "device") return "it follows from --cluster.";
  const Flag* flag = find_flag(key);
  constexpr std::array kOfNoLayout = {"Data", "Run folder", "Observe", "Look, don't train"};
  const bool other = flag && std::ranges::find(kOfNoLayout, flag->group) != kOfNoLayout.end();
  return other ? "no layout depends on it. Leave it out." : "";
}

PlanQuestion question_of(const Request& request, const std::string& model, const std::string& cluster) {
  PlanQuestion question{.base = {}, .devices = request.devices, .profile = load_profile(cluster, request.changes)};
  std::vector<std::string> words = {
      "train_llama", "--model", model,      "--dry-run",
      "--ranks",     "1",       "--device", question.profile.is_cpu() ? "cpu" : "cuda",
      "--cluster",   cluster};
  if (request.global_batch > 0)
    words.insert(words.end(), {"--global-batch", fmt::format("{}", request.global_batch)});
  if (request.seq > 0) words.insert(words.end(), {"--seq", fmt::format("{}", request.seq)});
  for (const std::string& change : request.changes) words.insert(words.end(), {"--set", change});
  Problems problems;
  std::map<std::string, std::string> seen;
  for (const std::string& fix : parts_of(fmt::format("{}", fmt::join(request.fixes, ",")))) {
    const size_t equal = fix.find('=');
    std::string key = fix.substr(0, equal);
    std::ranges::replace(key, '_', '-');
    if (const Flag* flag = find_flag(key)) key = flag->name;
    const std::string value = equal == fix.npos ? "" : fix.substr(equal + 1);
    if (value.empty()) {
      problems.add("--fix", "got {} and needs NAME=VALUE, such as tp=2,schedule=1f1b.", fix);
    } else if (const auto [place, is_new] = seen.try_emplace(key, value); !is_new) {
      problems.add("--fix", "{} is given twice, as {} and {}. Keep one.", key, place->second, value);
    } else if (const std::string why = not_to_fix(key); !why.empty()) {
      problems.add("--fix", "{}: {}", key, why);
    } else if (!take_choice(key, value, question.fixed, problems)) {
      question.fixed.threads |= key == "threads";
      question.fixed.sequence_parallel |= key == "sp";
      words.insert(words.end(), {"--" + key, value});
      question.flags += fmt::format(" --{} {}", key, value);
    }
  }
  problems.throw_if_any();
  std::vector<const char*> argv;
  for (const std::string& word : words) argv.push_back(word.c_str());
  question.base = std::get<Config>(parse_train_flags(static_cast<int>(argv.size()), argv.data(), {}, ""));
  check_fixed_choices(question, problems);
  problems.throw_if_any();
  return question;
}

// What is nearest, where nothing fits.
std::string why_nothing(const PlanQuestion& question, const PlanAnswer& answer) {
  std::string why = fmt::format("[plan] no layout of {} on {} x {} is possible", question.base.model_name,
                                question.devices, question.profile.device.name);
  for (const auto& [reason, count] : answer.left_out) why += fmt::format("; {}: {}", format_count(count), reason);
  if (answer.nearest.memory_bytes == 0)
    return why + ". Change --devices, --global-batch or --fix so that heads, layers and batch divide.";
  const double gib = static_cast<double>(answer.nearest.memory_bytes) / (1 << 30),
               has = question.profile.device.plannable_bytes() / (1 << 30),
               card = std::ceil(gib + question.profile.device.reserved_gib);
  const std::optional<EnoughDevices> more = enough_devices(question, answer);
  return fmt::format(
      "{}. The nearest is {}: it needs {:.1f} GiB of a device that leaves {:.1f} to a plan. Take {}"
      "cards of {:.0f} GiB (--set device.memory_gib={:.0f}), a shorter --seq, or fix less.",
      why, to_string(answer.nearest.layout), gib, has,
      more ? fmt::format("--devices {} ({} fits), ", more->devices, to_string(more->layout)) : "", card, card);
}

Plan plan_of_best(const PlanQuestion& question, const PlanAnswer& answer, bool every_node) {
  Config config = config_of(question, answer.plans[0].layout);
  if (every_node) config.detail = Detail::kNode;
  return build_plan(config);
}

Prediction predict_best(const PlanQuestion& question, const PlanAnswer& answer, const RunWish& wish,
                        const Plan& chosen) {
  Prediction prediction = predict(chosen);
  prediction.outlook = outlook(chosen, prediction.profile, prediction.simulation);
  add_best_layouts_after_changes(question, answer.plans[0].layout, answer.plans[0].step_s, answer.small_models,
                                 prediction.outlook.what_if);
  add_savings(question, wish, answer.plans[0], prediction.outlook.what_if);
  return prediction;
}

void write_html(const std::string& path, const Plan& chosen, const Prediction& best, const Json& planner) {
  const Trace trace = predicted_trace(chosen, best);
  Report report = analyse(trace);
  add_explanation(report,
                  {.cluster = best.profile.name, .peak_s = best.mfu * best.simulation.step_s, .prediction = best});
  write_page(path, planner_html(trace, report, planner));
  say(stderr, "{}: open it in a browser\n", path);
}

RunWish wish_of(const CLI::App& app, const Request& request, Problems& problems) {
  const auto given = [&](const char* flag, double value) -> std::optional<double> {
    if (app.count(flag) == 0) return std::nullopt;
    if (!(std::isfinite(value) && value >= 0 && value <= 1e18))
      problems.add("flags", "{} is {}; it needs a number from 0 on.", flag, value);
    return value;
  };
  RunWish wish{.tokens = given("--tokens", request.tokens).value_or(0),
               .recovery_min = given("--recovery", request.recovery),
               .checkpoint_min = given("--checkpoint-time", request.checkpoint),
               .usd_per_device_hour = given("--price-hour", request.price_hour)};
  if (!request.failures.empty()) {
    const FailureRate rate = parse_failure_rate(request.failures);
    wish.failure_device_hours = rate.device_hours, wish.failure_source = rate.source;
    if (find_failure_rate(request.failures) != nullptr) {  // published rates are compared under the article's times
      if (!wish.recovery_min) wish.recovery_min = kArticleRecoveryMin;
      if (!wish.checkpoint_min) wish.checkpoint_min = kArticleCheckpointMin;
    }
  }
  if (wish.tokens == 0)
    for (const char* flag : {"--failures", "--recovery", "--checkpoint-time", "--price-hour"})
      if (app.count(flag) > 0)
        problems.add("flags", "{} belongs to a whole run. Add --tokens, such as 2e12.", flag);
  return wish;
}

void add_flags(CLI::App& app, Request& request) {
  app.add_option("--model", request.models, "presets, or folders with a config.json (default: llama2-70b)")
      ->type_name("NAME|DIR[,...]")
      ->group("What is trained");
  with_numbers<int64_t>(app.add_option("--global-batch", request.global_batch, "sequences of a step"))
      ->type_name("N")
      ->group("What is trained");
  with_numbers<int64_t>(app.add_option("--seq", request.seq, "tokens of a sequence"))
      ->type_name("N")
      ->group("What is trained");
  with_numbers<double>(
      app.add_option("--tokens", request.tokens, "of the whole run, such as 2e12: then days and USD are known"))
      ->type_name("N")
      ->group("What is trained");
  app.add_option("--cluster", request.clusters,
                 "built-in profiles, or files; plan_llama clusters lists them (default: rtx4090)")
      ->type_name("NAME|FILE[,...]")
      ->group("Where");
  app.add_option("--set", request.changes,
                 "another number of the profile, such as network.nic_gb_per_s=25; repeatable")
      ->type_name("PATH=NUMBER")
      ->allow_extra_args(false)
      ->group("Where");
  with_numbers<int>(app.add_option("--devices", request.devices, "how many"))->type_name("N")->group("Where");
  app.add_option(
         "--fix", request.fixes,
         "what is not searched: tp pp dp vpp micro-batch schedule recompute zero, or any flag of train_llama, "
         "such as tp=2,schedule=1f1b,dtype=fp16")
      ->type_name("NAME=VALUE[,...]")
      ->allow_extra_args(false)
      ->group("Search");
  with_numbers<int>(app.add_option("--top", request.top, "plans that are shown (default: 5)"))
      ->type_name("K")
      ->group("Search");
  app.add_option("--failures", request.failures,
                 "device-hours per failure, or whose: article (720), llama3 (50,677), opt175 (11,904)")
      ->type_name("NAME|HOURS")
      ->group("Failures and money");
  with_numbers<double>(app.add_option("--recovery", request.recovery, "until the run is back after a failure"))
      ->type_name("MIN")
      ->group("Failures and money");
  with_numbers<double>(app.add_option("--checkpoint-time", request.checkpoint, "that a checkpoint stops the run"))
      ->type_name("MIN")
      ->group("Failures and money");
  with_numbers<double>(app.add_option("--price-hour", request.price_hour,
                                      "of a device (default: its price and its host's over 3 years, and power)"))
      ->type_name("USD")
      ->group("Failures and money");
  app.add_option("--html", request.html, "writes the answer as a page, with the timeline of the best layout's step")
      ->type_name("FILE")
      ->group("Output");
  app.add_flag("--json", request.as_json, "prints JSON")->group("Output");
}

double tokens_for_money(const PlanQuestion& question, const RunWish& wish, double tokens_per_s) {
  const Machine machine(question.profile);
  const double hour = wish.usd_per_device_hour ? *wish.usd_per_device_hour * question.devices
                                               : machine.usd_per_hour(question.devices);
  return hour > 0 ? million_tokens_per_usd(tokens_per_s, hour) : 0;
}

}  // namespace

ExitCode plan_layouts(int argc, const char* const* argv) {
  Request request;
  CLI::App app(
      "Which layout trains a model fastest on a cluster: thousands are ordered by an estimate, the best are planned "
      "to the byte and simulated.",
      "plan_llama");
  add_flags(app, request);
  Problems problems;
  if (!parse_flags(app, argc, argv, problems)) return ExitCode::kOk;
  if (request.devices < 1 || request.devices > kMostDevices)
    problems.add("flags", "--devices is {}; it needs 1 to {}.", request.devices, format_count(kMostDevices));
  if (!request.html.empty() && (request.models + request.clusters).find(',') != std::string::npos)
    problems.add("flags", "--html shows one plan: name one --model and one --cluster.");
  if (request.top < 1) problems.add("flags", "--top is {}, need 1 or more.", request.top);
  const RunWish wish = wish_of(app, request, problems);
  for (const auto& [flag, value] : {std::pair{"--global-batch", request.global_batch}, {"--seq", request.seq}})
    if (app.count(flag) > 0 && value < 1) problems.add("flags", "{} is {}; it needs 1 or more.", flag, value);
  problems.throw_if_any();

  const std::vector<std::string> models = parts_of(request.models), clusters = parts_of(request.clusters);
  if (models.empty() || clusters.empty())
    throw ConfigError("[flags] --model and --cluster need a name each. Leave them out for llama2-70b on rtx4090.");
  const bool compares = models.size() * clusters.size() > 1;
  Json all = Json::array();
  std::string text;
  std::vector<std::pair<PlanQuestion, PlanAnswer>> nothing;  // whose reasons are looked for if no other fits
  for (const std::string& model : models) {
    Json of_model = Json::array();
    for (const std::string& cluster : clusters) {
      const PlanQuestion question = question_of(request, model, cluster);
      const PlanAnswer answer = plan(question);
      if (answer.plans.empty()) nothing.emplace_back(question, answer);
      if (nothing.size() == models.size() * clusters.size()) {
        std::vector<std::string> why;
        for (const auto& [of_question, of_answer] : nothing) why.push_back(why_nothing(of_question, of_answer));
        throw ConfigError(fmt::format("{}", fmt::join(why, "\n")));
      }
      Json json = planner_json(question, answer, wish, static_cast<size_t>(request.top));
      if (!answer.plans.empty()) {
        const double rate = tokens_for_money(question, wish, answer.plans[0].tokens_per_s);
        json["million_tokens_per_usd"] = rate > 0 ? Json(rate) : Json(nullptr);
      }
      if (!compares) {
        const Plan chosen = plan_of_best(question, answer, !request.html.empty());
        const Prediction best = predict_best(question, answer, wish, chosen);
        if (!request.html.empty()) write_html(request.html, chosen, best, json);
        json["best"] = prediction_json(best);
        text = planner_text(json) + "\nwhy, of the best\n" + prediction_text(best);
      }
      of_model.push_back(std::move(json));
    }
    if (compares) text += fmt::format("{}{}\n{}", text.empty() ? "" : "\n", model, comparison_text(of_model));
    for (Json& json : of_model) all.push_back(std::move(json));
  }
  say(stdout, "{}", request.as_json ? (compares ? Json{{"clusters", all}} : all[0]).dump(1) + "\n" : text);
  return ExitCode::kOk;
}

}  // namespace trine
