// plan_llama inference: how fast devices that share a model write text.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "analysis/inference_report.h"
#include "base/program.h"
#include "examples/plan_commands.h"
#include "plan/config/named_model.h"

namespace trine {
namespace {

std::optional<int64_t> parse_batch(const std::string& text, Problems& problems) {
  if (text == "auto") return {};
  const auto batch = parse_integer(text);
  if (!batch || *batch < 1 || *batch > 1'000'000'000)
    problems.add("flags", "--batch is \"{}\". It needs auto, or how many sequences pass a stage together.", text);
  return batch;
}

}  // namespace

ExitCode plan_inference(int argc, const char* const* argv) {
  std::string model_name = "llama2-70b", cluster = "rtx4090", batch_text = "auto", split_text;
  std::vector<std::string> changes;
  int64_t devices = 0, context = 4096;
  double price_hour = -1;
  bool as_json = false;
  CLI::App app(
      "How fast devices that share a model write its tokens: for one user, for all of a batch, for a USD, and what "
      "bounds it. Rates of the data sheet, links as measured. Ends with 2, and says what is nearest, where memory "
      "is too small.",
      "plan_llama inference");
  app.add_option("--model", model_name, "a preset, or a folder with a config.json (default: llama2-70b)")
      ->type_name("NAME|DIR")
      ->group("Model");
  add_cluster_flags(app, cluster, changes);
  with_numbers<int64_t>(app.add_option("--devices", devices, "how many (default: one host's)"))
      ->type_name("N")
      ->group("Cluster");
  with_numbers<int64_t>(
      app.add_option("--context", context, "tokens of a sequence that its cache holds (default: 4096)"))
      ->type_name("N")
      ->group("Work");
  app.add_option(
         "--batch", batch_text,
         "sequences that pass a stage together; auto: where arithmetic and reading weights balance, or what "
         "memory holds (default: auto)")
      ->type_name("N|auto")
      ->group("Work");
  app.add_option(
         "--split", split_text,
         "how devices share the model: each layer, by layers, or both, such as 4x2; what is left over makes "
         "replicas (default: tp in hosts, pp over them)")
      ->type_name("tp|pp|TPxPP")
      ->group("Work");
  with_numbers<double>(
      app.add_option("--price-hour", price_hour,
                     "USD of a device (default: its price and its host's over 3 years, and power)"))
      ->type_name("USD")
      ->group("Work");
  app.add_flag("--json", as_json, "prints JSON")->group("Output");
  Problems problems;
  if (!parse_flags(app, argc, argv, problems)) return ExitCode::kOk;

  const Machine machine(load_profile(cluster, changes));
  if (app.count("--devices") == 0) devices = machine.devices_per_host();
  if (devices < 1 || devices > 100'000) problems.add("flags", "--devices is {}; it needs 1 to 100,000.", devices);
  if (context < 1 || context > int64_t{1} << 31)
    problems.add("flags", "--context is {}; it needs 1 to 2^31.", context);
  if (app.count("--price-hour") > 0 && !(price_hour >= 0 && price_hour < 1e9))
    problems.add("flags", "--price-hour is {}; it needs USD, 0 or more.", price_hour);
  const std::optional<int64_t> batch = parse_batch(batch_text, problems);
  const LlamaConfig model = named_model(model_name, "flags", problems).model;
  problems.throw_if_any();
  const int count = static_cast<int>(devices);
  const InferenceSplit split =
      split_text.empty() ? default_split(machine, model, count) : parse_split(split_text, count);
  validate_split(model, split, problems);
  problems.throw_if_any();
  const auto price = app.count("--price-hour") > 0 ? std::optional(price_hour) : std::nullopt;
  const nlohmann::json answer =
      inference_json(model_name, machine, inference_on(machine, model, split, context, batch, price));
  say(stdout, "{}", as_json ? answer.dump(2) + "\n" : inference_text(answer));
  return ExitCode::kOk;
}

}  // namespace trine
