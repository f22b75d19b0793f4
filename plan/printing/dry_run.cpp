// --dry-run: what a layout of any size asks of its ranks, as text and as JSON.
#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/text.h"
#include "models/llama.h"
#include "parallel/schedules/check.h"
#include "plan/config/flag_values.h"
#include "plan/config/flags.h"
#include "plan/config/layouts.h"
#include "plan/host_memory.h"
#include "plan/printing/layout_grid.h"
#include "plan/printing/plan_text.h"
#include "plan/step_work.h"

namespace trine {
namespace {

using Json = nlohmann::ordered_json;

// The parts of a rank's memory, as MemoryLine::part names them.
constexpr std::array<const char*, 9> kParts = {"weights",  "gradients", "Adam",       "step",     "activations",
                                               "received", "sent",      "transients", "workspace"};

int64_t bytes_of(const MemoryPlan& memory, std::string_view part) {
  int64_t bytes = 0;
  for (const MemoryLine& line : memory.table)
    if (line.part == part) bytes += line.bytes;
  return bytes;
}

// The model's states, all ranks together, each counted once. Bytes.
struct ModelStates {
  std::string key, what;
  double weights = 0, gradients = 0, adam = 0;
  double total() const { return weights + gradients + adam; }
};

ModelStates states_of(std::string key, std::string what, double parameters, int weights, int gradients) {
  constexpr double kAdam = 12;  // master weight, momentum, variance in f32
  return {std::move(key), std::move(what), parameters * weights, parameters * gradients, parameters * kAdam};
}

// The billions in a model's name: 70 of "llama2-70b".
std::optional<double> nominal_billions(std::string_view model) {
  if (!model.ends_with('b')) return std::nullopt;
  model.remove_suffix(1);
  const size_t begin = model.find_last_not_of("0123456789.") + 1;
  double billions = 0;
  const auto [end, error] = std::from_chars(model.data() + begin, model.data() + model.size(), billions);
  return error == std::errc{} && end == model.data() + model.size() ? std::optional(billions) : std::nullopt;
}

// Beside ours the accounting of Bojie Li, "A100/H100 are too expensive, why not use 4090?" (2023): gradients in 16
// bits, and parameters rounded to the model's name.
std::vector<ModelStates> model_states(const Config& c) {
  std::vector<ModelStates> list;
  const double parameters = static_cast<double>(parameter_count(c.model));
  const std::string exact = fmt::format("{} parameters", format_count(parameter_count(c.model)));
  if (const auto billions = nominal_billions(c.model_name))
    list.push_back(states_of("article_nominal", fmt::format("article: 2 + 2 + 12 B x {:g} billion", *billions),
                             *billions * 1e9, 2, 2));
  list.push_back(states_of("article", "article: 2 + 2 + 12 B x " + exact, parameters, 2, 2));
  const int weights = static_cast<int>(size_bytes(c.dtype));
  list.push_back(
      states_of("trine", fmt::format("Trine: {} + 4 + 12 B x {}", weights, exact), parameters, weights, 4));
  return list;
}

std::string name_of(const Stage& stage) {
  const int64_t last = stage.end_layer - 1;
  std::string text = stage.first_layer == last ? fmt::format("layer {}", last)
                                               : fmt::format("layers {}-{}", stage.first_layer, last);
  if (stage.is_first()) text = "embedding, " + text;
  return stage.is_last() ? text + ", head" : text;
}

double cost_in_layers(const Stage& stage, const LayerCosts& costs) {
  const double cost = static_cast<double>(stage.end_layer - stage.first_layer) * costs.layer +
                      (stage.is_first() ? costs.embedding : 0) + (stage.is_last() ? costs.head : 0);
  return cost / costs.layer;
}

std::string stages_text(const Plan& plan) {
  const LayerCosts costs = layer_costs(plan.config.model, plan.config.seq);
  std::string text = "stages     (cost of forward, in layers)\n";
  for (size_t pp = 0; pp < plan.stages.size(); ++pp) {
    text += fmt::format("  pp {}:", pp);
    for (const Stage& stage : plan.stages[pp].chunks)
      text += fmt::format("{} stage {}: {} ({:.2f})", &stage == &plan.stages[pp].chunks[0] ? "" : ";", stage.index,
                          name_of(stage), cost_in_layers(stage, costs));
    text += '\n';
  }
  return text;
}

std::string memory_text(const Plan& plan) {
  int64_t most = 0;
  size_t largest = 0;
  for (size_t pp = 0; pp < plan.stages.size(); ++pp)
    if (const int64_t bytes = plan.stages[pp].memory.total_bytes(); bytes > most) most = bytes, largest = pp;
  const bool small = most < int64_t{1} << 30;
  const auto cell = [&](int64_t bytes) {
    return fmt::format(" {:>11.3f}", static_cast<double>(bytes) / (small ? 1 << 20 : 1 << 30));
  };
  std::string text =
      fmt::format("memory     of a rank with the largest shards, {} (by name: --print-memory)\n  {:>4} {:>15}",
                  small ? "MiB" : "GiB", "pp", "parameters");
  for (const char* part : kParts) text += fmt::format(" {:>11}", part);
  text += "       total";
  HostMemory on_host;  // the most
  for (size_t pp = 0; pp < plan.stages.size(); ++pp) {
    const HostMemory memory = host_memory(plan, pp);
    on_host.snapshot_bytes = std::max(on_host.snapshot_bytes, memory.snapshot_bytes);
    on_host.pinned_bytes = std::max(on_host.pinned_bytes, memory.pinned_bytes);
  }
  if (on_host.total_bytes() > 0) text += "  + on host";
  text += '\n';
  for (size_t pp = 0; pp < plan.stages.size(); ++pp) {
    const MemoryPlan& memory = plan.stages[pp].memory;
    text += fmt::format("  {:>4} {:>15}", pp, format_count(num_parameters(plan.stages[pp])));
    for (const char* part : kParts) text += cell(bytes_of(memory, part));
    text += cell(memory.total_bytes());
    if (on_host.total_bytes() > 0) text += cell(host_memory(plan, pp).total_bytes()).substr(1);
    text += '\n';
  }
  text += fmt::format("  the largest: pp {}, {}\n", largest, format_bytes(most));
  if (on_host.total_bytes() > 0)
    text += fmt::format("  on the host, at most: {} for the snapshot of a checkpoint, {} pinned\n",
                        format_bytes(on_host.snapshot_bytes), format_bytes(on_host.pinned_bytes));
  return text;
}

std::string schedule_text(const Plan& plan) {
  constexpr size_t kFirst = 10, kLast = 4;
  const Config& c = plan.config;
  const IdealBubble ideal = ideal_bubble(c.schedule, c.mesh.pp, c.vpp, c.num_microbatches());
  std::string text = fmt::format(
      "schedule   {}: bubble {:.1f} % of the ranks' time; {} = {:.1f} % for equal stages\n", name(c.schedule),
      100 * bubble_fraction(schedules(plan), action_times(plan)), ideal.formula, 100 * ideal.share);
  for (size_t pp = 0; pp < plan.stages.size(); ++pp) {
    const Schedule& s = plan.stages[pp].schedule;
    const bool all = s.size() <= kFirst + kLast;
    text += fmt::format("  pp {}: {} actions, {} in flight: {}", pp, s.size(), max_in_flight(s),
                        to_string(all ? s : Schedule(s.begin(), s.begin() + kFirst)));
    text += all ? "\n" : " ... " + to_string(Schedule(s.end() - kLast, s.end())) + "\n";
  }
  return text;
}

std::string format_flops(double flops) {
  constexpr std::array<const char*, 4> units = {"GFLOP", "TFLOP", "PFLOP", "EFLOP"};
  double value = flops * 1e-9;
  size_t unit = 0;
  while (value >= 1000 && unit + 1 < units.size()) value /= 1000, ++unit;
  return fmt::format("{:.1f} {}", value, units[unit]);
}

// Of a step, by the formula that MFU uses: no recomputation.
double model_flops(const Config& c) {
  return model_flops_per_token(c.model, c.seq) * static_cast<double>(c.tokens_per_step());
}

std::string traffic_text(const StepWork& step) {
  std::string text = " " + format_flops(step.flops) + "\n";
  for (const Traffic& t : step.traffic)
    text += fmt::format("    {:<4} {:<15} {:>11} x {:>10}{} {:>22} B {:>12}\n", name(t.axis), t.op,
                        format_count(t.count), format_bytes(t.most_bytes),
                        t.bytes == t.count * t.most_bytes ? "       " : " at most", format_count(t.bytes),
                        format_bytes(t.bytes));
  return text;
}

// Pipeline ranks that do the same stand together.
std::string steps_text(const Plan& plan) {
  std::string text = "step       of one rank: FLOPs, and bytes that it sends by axis\n";
  std::vector<std::string> texts;
  double flops = 0;
  for (const StagePlan& stage : plan.stages) {
    const StepWork step = step_work(stage, plan.config.num_microbatches());
    texts.push_back(traffic_text(step));
    flops += step.flops * plan.config.mesh.dp * plan.config.mesh.tp;
  }
  for (size_t first = 0, end; first < texts.size(); first = end) {
    for (end = first + 1; end < texts.size() && texts[end] == texts[first];) ++end;
    text += fmt::format("  pp {}{}:{}", first, end - first > 1 ? fmt::format("-{}", end - 1) : "", texts[first]);
  }
  return text + fmt::format("  all ranks: {}; the model's 6 N + 12 L H d T per token: {}\n", format_flops(flops),
                            format_flops(model_flops(plan.config)));
}

std::string states_text(const Plan& plan) {
  const std::vector<ModelStates> list = model_states(plan.config);
  const double unit = list.back().total() < 1e9 ? 1e6 : 1e9;
  std::string text =
      fmt::format("states     {:<42}{:>11}{:>10}{:>10}{:>10}\n",
                  unit == 1e6 ? "of the whole model, MB (10^6 B)" : "of the whole model, GB (10^9 B)", "weights",
                  "gradients", "Adam", "total");
  for (const ModelStates& s : list)
    text += fmt::format("  {:<51}{:>11.1f}{:>10.1f}{:>10.1f}{:>10.1f}\n", s.what, s.weights / unit,
                        s.gradients / unit, s.adam / unit, s.total() / unit);
  return text;
}

Json stages_json(const Plan& plan) {
  const LayerCosts costs = layer_costs(plan.config.model, plan.config.seq);
  Json list = Json::array();
  for (size_t pp = 0; pp < plan.stages.size(); ++pp)
    for (const Stage& stage : plan.stages[pp].chunks)
      list.push_back({{"stage", stage.index},
                      {"pp", pp},
                      {"first_layer", stage.first_layer},
                      {"end_layer", stage.end_layer},
                      {"embedding", stage.is_first()},
                      {"head", stage.is_last()},
                      {"cost_in_layers", cost_in_layers(stage, costs)}});
  return list;
}

Json rank_json(const Plan& plan, size_t pp) {
  const StagePlan& stage = plan.stages[pp];
  const StepWork step = step_work(stage, plan.config.num_microbatches());
  Json memory, traffic = Json::array();
  for (const char* part : kParts) memory[part] = bytes_of(stage.memory, part);
  memory["total"] = stage.memory.total_bytes();
  const HostMemory on_host = host_memory(plan, pp);
  for (const Traffic& t : step.traffic)
    traffic.push_back({{"axis", name(t.axis)},
                       {"op", t.op},
                       {"count", t.count},
                       {"bytes_sent", t.bytes},
                       {"most_bytes_sent_by_one", t.most_bytes}});
  return {{"pp", pp},
          {"parameters", num_parameters(stage)},
          {"memory_bytes", memory},
          {"host_bytes", {{"snapshot", on_host.snapshot_bytes}, {"pinned", on_host.pinned_bytes}}},
          {"flops", step.flops},
          {"traffic", traffic},
          {"microbatches_in_flight", max_in_flight(stage.schedule)},
          {"actions", to_string(stage.schedule)}};
}

std::vector<std::string> warnings_of(const Plan& plan) {
  std::vector<std::string> warnings = layout_warnings(plan.config);
  warnings.insert(warnings.end(), plan.warnings.begin(), plan.warnings.end());
  return warnings;
}

}  // namespace

std::string print_dry_run(const Plan& plan) {
  const Config& c = plan.config;
  std::string text =
      fmt::format("model      {}: {} parameters\n", c.model_name, format_count(parameter_count(c.model)));
  text += fmt::format(
      "layout     pp {} x dp {} x tp {} = {} ranks; vpp {}, sequence parallelism {}, ZeRO {}, recompute {}\n{}",
      c.mesh.pp, c.mesh.dp, c.mesh.tp, c.mesh.num_ranks(), c.vpp,
      c.sequence_parallel && c.mesh.tp > 1 ? "on" : "off", c.zero, ValueText<Recompute>::print(c.recompute),
      layout_grid(c.mesh));
  text += fmt::format("batch      {} x {} tokens a step: on each dp rank {} microbatches of {}\n", c.global_batch,
                      c.seq, c.num_microbatches(), c.micro_batch);
  text += stages_text(plan) + memory_text(plan) + schedule_text(plan) + steps_text(plan) + states_text(plan);
  for (const std::string& warning : warnings_of(plan)) text += "warning: " + warning + "\n";
  return text;
}

nlohmann::ordered_json dry_run_json(const Plan& plan) {
  const Config& c = plan.config;
  Json json;
  json["parameters"] = parameter_count(c.model);
  json["mesh"] = {{"ranks", c.mesh.num_ranks()}, {"pp", c.mesh.pp}, {"dp", c.mesh.dp}, {"tp", c.mesh.tp}};
  json["microbatches"] = c.num_microbatches();
  json["model_flops"] = model_flops(c);
  json["stages"] = stages_json(plan);
  for (size_t pp = 0; pp < plan.stages.size(); ++pp) json["pipeline_ranks"].push_back(rank_json(plan, pp));
  const IdealBubble ideal = ideal_bubble(c.schedule, c.mesh.pp, c.vpp, c.num_microbatches());
  json["schedule"] = {{"kind", name(c.schedule)},
                      {"bubble", bubble_fraction(schedules(plan), action_times(plan))},
                      {"ideal_bubble", ideal.share},
                      {"ideal_bubble_formula", ideal.formula}};
  for (const ModelStates& s : model_states(c))
    json["model_state_bytes"][s.key] = {
        {"weights", s.weights}, {"gradients", s.gradients}, {"adam", s.adam}, {"total", s.total()}};
  json["warnings"] = warnings_of(plan);
  json["config"] = to_json(c);
  return json;
}

}  // namespace trine
