// plan_llama failures: what failures cost a training run.
#include <nlohmann/json.hpp>

#include "analysis/failures.h"
#include "analysis/machine.h"
#include "analysis/numbers.h"
#include "analysis/training_size.h"
#include "base/program.h"
#include "examples/plan_commands.h"
#include "plan/config/named_model.h"

namespace trine {
namespace {

struct Request {
  std::string model = "llama2-70b", cluster = "rtx4090";
  std::vector<std::string> changes, rates;
  int64_t devices = 2048;
  double tokens = 2e12, mfu = 0.4, days = 0, recovery = 0, checkpoint = 0, price_hour = 0, disk = 2, restart = 5,
         repair = 24;
  bool as_json = false;
};

struct Number {
  const char* flag;
  double Request::*value;
  bool may_be_zero;
  double most;
  const char *unit, *group, *help;
};
constexpr Number kNumbers[] = {
    {"--tokens", &Request::tokens, false, 1e18, "N", "Run", "to train on (default: 2e12)"},
    {"--mfu", &Request::mfu, false, 1, "PART", "Run",
     "share of the devices' peak that the run reaches (default: 0.4)"},
    {"--days", &Request::days, false, 1e6, "DAYS", "Run",
     "that it would take without failures, instead of tokens and MFU"},
    {"--recovery", &Request::recovery, true, 1e6, "MIN", "Failures",
     "until the run is back after one (default: 10 with a named rate, as the article has it; "
     "else from the disk)"},
    {"--checkpoint-time", &Request::checkpoint, true, 1e6, "MIN", "Failures",
     "that a checkpoint stops the run (default: 1 with a named rate; else from the disk)"},
    {"--disk-gb-s", &Request::disk, false, 1e6, "GB/S", "Failures", "that each host writes (default: 2)"},
    {"--restart-time", &Request::restart, true, 1e6, "MIN", "Failures",
     "to notice a failure and start again, without reading (default: 5)"},
    {"--repair-hours", &Request::repair, true, kHoursPerYear, "HOURS", "Failures",
     "that a failed host is away (default: 24)"},
    {"--price-hour", &Request::price_hour, true, 1e6, "USD", "Money",
     "of a device (default: its price and its share of a host over 3 years, and power)"},
};

void add_flags(CLI::App& app, Request& request) {
  app.add_option("--model", request.model, "a preset, or a folder with a config.json (default: llama2-70b)")
      ->type_name("NAME|DIR")
      ->group("Run");
  add_cluster_flags(app, request.cluster, request.changes);
  with_numbers<int64_t>(app.add_option("--devices", request.devices, "how many (default: 2048)"))
      ->type_name("N")
      ->group("Cluster");
  app.add_option("--failures", request.rates,
                 "device-hours per failure, or whose: article (720), llama3 (50,677), opt175 (11,904); repeatable "
                 "(default: all three)")
      ->type_name("NAME|HOURS")
      ->allow_extra_args(false)
      ->group("Failures");
  for (const Number& number : kNumbers)
    with_numbers<double>(app.add_option(number.flag, request.*number.value, number.help))
        ->type_name(number.unit)
        ->group(number.group);
  app.add_flag("--json", request.as_json, "prints JSON")->group("Output");
}

void check(const CLI::App& app, const Request& request, Problems& problems) {
  for (const Number& number : kNumbers) {
    const double value = request.*number.value;
    const bool large_enough = number.may_be_zero ? value >= 0 : value > 0;  // false for "nan"
    if (app.count(number.flag) > 0 && !(large_enough && value <= number.most))
      problems.add("flags", "{} is {}; it needs a number {} to {}.", number.flag, value,
                   number.may_be_zero ? "from 0" : "above 0, up", short_number(number.most));
  }
  if (request.devices < 1 || request.devices > 10'000'000)
    problems.add("flags", "--devices is {}; it needs 1 to 10,000,000.", request.devices);
}

RunInputs run_of(const CLI::App& app, const Request& request, const NamedModel& model, const Machine& machine) {
  const auto given = [&](const char* flag, double value) {
    return app.count(flag) > 0 ? std::optional(value) : std::nullopt;
  };
  RunInputs run{.devices = static_cast<double>(request.devices),
                .compute_days = request.days,
                .host = machine.host_cost(),
                .usd_per_device_hour = given("--price-hour", request.price_hour),
                .recovery_min = given("--recovery", request.recovery),
                .checkpoint_min = given("--checkpoint-time", request.checkpoint),
                .repair_hours = request.repair};
  run.disk = {.bytes = checkpoint_bytes(static_cast<double>(parameter_count(model.model))),
              .hosts = static_cast<double>(machine.hosts(static_cast<int>(request.devices))),
              .disk_bytes_per_s = request.disk * 1e9,
              .restart_min = request.restart};
  if (app.count("--days") == 0)
    run.compute_days = device_hours(request.tokens * model_flops_per_token(model.model, model.training.seq),
                                    machine.card.flops_per_s, request.mfu) /
                       static_cast<double>(request.devices) / 24;
  return run;
}

}  // namespace

ExitCode plan_failures(int argc, const char* const* argv) {
  Request request;
  CLI::App app(
      "What failures cost a training run: the part of the time that is progress, the best checkpoint interval "
      "(Daly's exact form), spare hosts, days, energy and money. The run's length comes from --days, or from "
      "tokens and an MFU that you expect.",
      "plan_llama failures");
  add_flags(app, request);
  Problems problems;
  if (!parse_flags(app, argc, argv, problems)) return ExitCode::kOk;
  const Machine machine(load_profile(request.cluster, request.changes));
  check(app, request, problems);
  const NamedModel model = named_model(request.model, "flags", problems);
  problems.throw_if_any();

  std::vector<FailureRate> rates;
  for (const std::string& rate : request.rates) rates.push_back(parse_failure_rate(rate));
  if (rates.empty()) rates.assign(failure_rates().begin(), failure_rates().end());
  nlohmann::json answer = failures_json(run_of(app, request, model, machine), rates);
  answer["model"] = request.model;
  answer["cluster"] = machine.name();
  if (app.count("--days") == 0) answer["tokens"] = request.tokens, answer["mfu"] = request.mfu;
  say(stdout, "{}", request.as_json ? answer.dump(2) + "\n" : failures_text(answer));
  return ExitCode::kOk;
}

}  // namespace trine
