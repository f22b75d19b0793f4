#include "analysis/prediction.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "analysis/simulated_costs.h"
#include "base/error.h"
#include "base/file_system.h"
#include "base/text.h"
#include "trace/trace_writer.h"

namespace trine {
namespace {

constexpr std::array<EventKind, kNumEventKinds> kKinds = {
    EventKind::kCompute, EventKind::kRecompute, EventKind::kCommTp,     EventKind::kCommPp,
    EventKind::kCommDp,  EventKind::kWait,      EventKind::kBubble,     EventKind::kOptimizer,
    EventKind::kData,    EventKind::kHost,      EventKind::kCheckpoint, EventKind::kIdle};

// Of more, one rank stands for each pipeline rank.
constexpr int kMostTracedRanks = 256;

std::string_view certainty_words(const PredictionCertainty& certainty) {
  if (certainty.kind == "published") return "as far as published steps on this device were from theirs";
  if (certainty.kind == "calibrated") return "as far as runs on measured machines were from theirs";
  if (certainty.kind == "oversubscribed") return "more threads than cores: where the time goes is not known";
  return "no step on such a device is known";
}

}  // namespace

std::map<int, double> slow_ranks_of(const Config& config) {
  std::map<int, double> slow;
  Problems problems;
  for (const std::string& text : config.slow_ranks) {
    const size_t colon = text.find(':');
    int rank = -1;
    double factor = 0;
    const char *const begin = text.data(), *const end = begin + text.size();
    const bool right = colon != text.npos && std::from_chars(begin, begin + colon, rank).ptr == begin + colon &&
                       std::from_chars(begin + colon + 1, end, factor).ptr == end && colon > 0 &&
                       colon + 1 < text.size();
    if (!right)
      problems.add("flags", "--slow got '{}' and needs RANK:FACTOR, such as 3:1.5.", text);
    else if (rank < 0 || rank >= config.mesh.num_ranks())
      problems.add("flags", "--slow names rank {}; there are ranks 0 to {}.", rank, config.mesh.num_ranks() - 1);
    else if (!(factor >= 1 && factor <= 1e6))
      problems.add("flags", "--slow {}: a factor is 1 or more.", text);
    else
      slow[rank] = factor;
  }
  problems.throw_if_any();
  return slow;
}

Prediction predict(const Plan& plan) {
  Prediction prediction;
  prediction.profile = load_profile(plan.config.cluster, plan.config.cluster_changes);
  const Profile& profile = prediction.profile;
  if (profile.is_cpu() != (plan.config.device == DeviceKind::kCpu))
    throw ConfigError(fmt::format("[flags] {} is a cluster of {}, but --device is {}. Leave out --device.",
                                  profile.name, profile.is_cpu() ? "CPUs" : "GPUs", name(plan.config.device)));
  prediction.simulation = simulate(plan, profile, {slow_ranks_of(plan.config)});
  prediction.certainty = certainty_of(profile, prediction.simulation);
  for (const StagePlan& stage : plan.stages)
    prediction.memory_bytes = std::max(prediction.memory_bytes, stage.memory.total_bytes());
  const int ranks = profile.is_cpu() ? cpu_layout(plan.config, profile.cpu).ranks_a_host : 1;  // share a memory
  prediction.fits = static_cast<double>(prediction.memory_bytes) * ranks <= profile.device.plannable_bytes();
  const double step_s = prediction.simulation.step_s;
  prediction.tokens_per_s = static_cast<double>(plan.config.tokens_per_step()) / step_s;
  prediction.mfu = mfu(plan.config, profile, step_s);
  prediction.explained = explain(prediction.simulation.mean, prediction.mfu * step_s);
  return prediction;
}

std::string prediction_text(const Prediction& p) {
  const double step_s = p.simulation.step_s;
  const StepBreakdown& mean = p.simulation.mean;
  std::string text = fmt::format(
      "predicted  on {}: {:.3g} s a step ({:.3g} to {:.3g} s: "
      "{}), {} tokens/s, {:.1f} % of the devices' peak (MFU)\n",
      p.profile.name, step_s, step_s * p.certainty.low, step_s * p.certainty.high, certainty_words(p.certainty),
      format_count(static_cast<int64_t>(p.tokens_per_s)), 100 * p.mfu);
  for (const ExplainedPart& part : p.explained)
    if (!p.simulation.oversubscribed)
      text +=
          fmt::format("  {:<32}{:>10.4f} s {:>6.1f} %\n", part_text(part.part), part.s, 100 * part.s / mean.step_s);
  for (const Axis axis : kAxes)
    if (mean.hidden(axis) > 0 && !p.simulation.oversubscribed)
      text += fmt::format("  {:<32}{:>10.4f} s\n", fmt::format("{} communication, hidden", name(axis)),
                          mean.hidden(axis));
  text +=
      fmt::format("  {} of the largest rank, {} for a plan on a {}\n", format_bytes(p.memory_bytes),
                  format_bytes(static_cast<int64_t>(p.profile.device.plannable_bytes())), p.profile.device.name);
  if (!p.what_if.empty()) text += "what would shorten the step, each simulated\n";
  for (const WhatIf& one : p.what_if)
    text += fmt::format("  {:>10.4f} s {:>6.1f} %  {}\n", one.gain_s, 100 * one.gain_s / step_s, one.change);
  if (!p.simulation.not_measured.empty())
    text +=
        fmt::format("warning: {} has no costs of {}: they are guesses. measure_cluster --model measures them.\n",
                    p.profile.name, fmt::join(p.simulation.not_measured, ", "));
  if (!p.fits)
    text += fmt::format(
        "warning: the plan does not fit into the memory of {}. Recompute more (--recompute full), lower "
        "--micro-batch, or spread the model over more ranks.\n",
        p.profile.device.name);
  return text;
}

nlohmann::ordered_json prediction_json(const Prediction& p) {
  nlohmann::ordered_json json, mean;
  const double step_s = p.simulation.step_s;
  for (const EventKind kind : kKinds) mean[fmt::format("{}_s", name(kind))] = p.simulation.mean[kind];
  json["cluster"] = p.profile.name;
  json["certainty"] = {
      {"class", p.certainty.kind}, {"low_s", step_s * p.certainty.low}, {"high_s", step_s * p.certainty.high}};
  json["fits"] = p.fits;
  json["step_s"] = step_s;
  json["mean"] = p.simulation.oversubscribed ? nlohmann::ordered_json(nullptr) : mean;
  json["tokens_per_s"] = p.tokens_per_s;
  json["mfu"] = p.mfu;
  json["memory_bytes"] = p.memory_bytes;
  json["explain"] = nlohmann::ordered_json::array();
  for (const ExplainedPart& part : p.explained) json["explain"].push_back({{"part", part.part}, {"s", part.s}});
  if (p.simulation.oversubscribed) json["explain"] = nullptr;
  json["what_if"] = nlohmann::ordered_json::array();
  for (const WhatIf& one : p.what_if)
    json["what_if"].push_back(
        {{"id", one.id}, {"change", one.change}, {"step_s", one.step_s}, {"gain_s", one.gain_s}, {"usd", nullptr}});
  return json;
}

void write_predicted_trace(const Plan& plan, const Prediction& prediction, const std::string& folder) {
  const Mesh& mesh = plan.config.mesh;
  const int devices = static_cast<int>(prediction.profile.host.devices);
  const bool all = mesh.num_ranks() <= kMostTracedRanks;
  Trace trace = prediction.simulation.trace;
  const std::vector<RankTrace> of_stage = std::move(trace.ranks);
  trace.ranks.clear();
  for (int rank = 0; rank < mesh.num_ranks(); ++rank) {
    const Coordinate at = mesh.coordinate(rank);
    if (!all && (at.dp > 0 || at.tp > 0)) continue;
    RankTrace& own = trace.ranks.emplace_back(of_stage[static_cast<size_t>(at.pp)]);
    own.rank = rank, own.coordinate = at, own.host = fmt::format("host {}", rank / devices);
  }
  if (const auto names = is_there(folder) ? names_in(folder) : std::nullopt; names && !names->empty())
    throw ConfigError(fmt::format(
        "[flags] --predict-trace {} is not empty: nothing in it is replaced. Choose another folder, or empty it.",
        folder));
  std::filesystem::create_directories(folder);
  write_trace(trace, folder);
}

}  // namespace trine
