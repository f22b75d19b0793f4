// plan_llama failures: what failures cost a training run.
#include <cmath>
#include <nlohmann/json.hpp>

#include "analysis/failures.h"
#include "analysis/machine.h"
#include "analysis/training_size.h"
#include "base/program.h"
#include "examples/plan_commands.h"
#include "plan/config/named_model.h"

namespace trine {

ExitCode plan_failures(int argc, const char* const* argv) {
  std::string model_name = "llama2-70b", cluster = "rtx4090";
  std::vector<std::string> changes, rates;
  int64_t devices = 2048;
  double tokens = 2e12, mfu = 0.4, days = 0, recovery = 0, checkpoint = 0, price_hour = 0, disk = 2, restart = 5,
         repair = 24;
  bool as_json = false;
  CLI::App app(
      "What failures cost a training run: the part of the time that is progress, the best checkpoint interval "
      "(Daly's exact form), spare hosts, days, energy and money. The run's length comes from --days, or from "
      "tokens and an MFU that you expect.",
      "plan_llama failures");
  struct Number {
    const char* flag;
    double& value;
    const char *unit, *group, *help;
  };
  const Number numbers[] = {
      {"--tokens", tokens, "N", "Run", "to train on (default: 2e12)"},
      {"--mfu", mfu, "PART", "Run", "share of the devices' peak that the run reaches (default: 0.4)"},
      {"--days", days, "DAYS", "Run", "that it would take without failures, instead of tokens and MFU"},
      {"--recovery", recovery, "MIN", "Failures",
       "until the run is back after one (default: 10 with a named rate, as the article has it; "
       "else from the disk)"},
      {"--checkpoint-time", checkpoint, "MIN", "Failures",
       "that a checkpoint stops the run (default: 1 with a named rate; else from the disk)"},
      {"--disk-gb-s", disk, "GB/S", "Failures", "that each host writes (default: 2)"},
      {"--restart-time", restart, "MIN", "Failures",
       "to notice a failure and start again, without reading (default: 5)"},
      {"--repair-hours", repair, "HOURS", "Failures", "that a failed host is away (default: 24)"},
      {"--price-hour", price_hour, "USD", "Money",
       "of a device (default: its price and its host's over 3 years, and power)"},
  };
  app.add_option("--model", model_name, "a preset, or a folder with a config.json (default: llama2-70b)")
      ->type_name("NAME|DIR")
      ->group("Run");
  add_cluster_flags(app, cluster, changes);
  with_numbers<int64_t>(app.add_option("--devices", devices, "how many (default: 2048)"))
      ->type_name("N")
      ->group("Cluster");
  app.add_option("--failures", rates,
                 "device-hours per failure, or whose: article (720), llama3 (50,677), opt175 (11,904); repeatable "
                 "(default: all three)")
      ->type_name("NAME|HOURS")
      ->allow_extra_args(false)
      ->group("Failures");
  for (const Number& number : numbers)
    with_numbers<double>(app.add_option(number.flag, number.value, number.help))
        ->type_name(number.unit)
        ->group(number.group);
  app.add_flag("--json", as_json, "prints JSON")->group("Output");
  Problems problems;
  if (!parse_flags(app, argc, argv, problems)) return ExitCode::kOk;

  const Machine machine(load_profile(cluster, changes));
  for (const Number& number : numbers) {
    const std::string flag = number.flag;
    const bool may_be_zero = flag == "--recovery" || flag == "--checkpoint-time" || flag == "--restart-time" ||
                             flag == "--repair-hours" || flag == "--price-hour";
    if (app.count(flag) > 0 && !(std::isfinite(number.value) && number.value <= 1e18 &&
                                 (may_be_zero ? number.value >= 0 : number.value > 0)))
      problems.add("flags", "{} is {}; it needs a number {}.", flag, number.value,
                   may_be_zero ? "from 0 on" : "above 0");
  }
  if (mfu > 1) problems.add("flags", "--mfu is {}; it needs a share of the peak, up to 1.", mfu);
  if (devices < 1 || devices > 10'000'000)
    problems.add("flags", "--devices is {}; it needs 1 to 10,000,000.", devices);
  const NamedModel model = named_model(model_name, "flags", problems);
  problems.throw_if_any();

  std::vector<FailureRate> chosen(failure_rates().begin(), failure_rates().end());
  if (!rates.empty()) chosen.clear();
  for (const std::string& rate : rates) chosen.push_back(parse_failure_rate(rate));
  const auto given = [&](const char* flag, double value) {
    return app.count(flag) > 0 ? std::optional(value) : std::nullopt;
  };
  RunInputs run{.devices = static_cast<double>(devices),
                .compute_days = days,
                .host = machine.host_cost(),
                .usd_per_device_hour = given("--price-hour", price_hour),
                .recovery_min = given("--recovery", recovery),
                .checkpoint_min = given("--checkpoint-time", checkpoint),
                .repair_hours = repair};
  run.disk = {.bytes = checkpoint_bytes(static_cast<double>(parameter_count(model.model))),
              .hosts = static_cast<double>(machine.hosts(static_cast<int>(devices))),
              .disk_bytes_per_s = disk * 1e9,
              .restart_min = restart};
  if (app.count("--days") == 0)
    run.compute_days = device_hours(tokens * model_flops_per_token(model.model, model.training.seq),
                                    machine.card.flops_per_s, mfu) /
                       static_cast<double>(devices) / 24;
  nlohmann::json answer = failures_json(run, chosen);
  answer["model"] = model_name;
  answer["cluster"] = machine.name();
  if (app.count("--days") == 0) answer["tokens"] = tokens, answer["mfu"] = mfu;
  say(stdout, "{}", as_json ? answer.dump(2) + "\n" : failures_text(answer));
  return ExitCode::kOk;
}

}  // namespace trine
