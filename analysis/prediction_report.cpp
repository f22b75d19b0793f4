#include "analysis/prediction_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <functional>
#include <nlohmann/json.hpp>

#include "analysis/numbers.h"
#include "base/text.h"

namespace trine {
namespace {

constexpr std::array<EventKind, kNumEventKinds> kKinds = {
    EventKind::kCompute, EventKind::kRecompute, EventKind::kCommTp,     EventKind::kCommPp,
    EventKind::kCommDp,  EventKind::kWait,      EventKind::kBubble,     EventKind::kOptimizer,
    EventKind::kData,    EventKind::kHost,      EventKind::kCheckpoint, EventKind::kIdle};

constexpr size_t kLossesSaid = 3;
constexpr double kWorthSaying = 0.02, kShown = 0.0005;  // of a step

std::string_view certainty_words(const PredictionCertainty& certainty) {
  if (certainty.kind == "published") return "as far as published steps on this device were from theirs";
  if (certainty.kind == "calibrated") return "as far as runs on measured machines were from theirs";
  if (certainty.kind == "oversubscribed") return "more threads than cores: where the time goes is not known";
  return "no step on such a device is known";
}

// "430": two digits are all that a point between two simulated ones has.
std::string about(double value) {
  const double unit = std::pow(10, std::floor(std::log10(value)) - 1);
  return short_number(std::round(value / unit) * unit);
}

bool is_other_cluster(const WhatIf& one) { return one.id.starts_with("cluster_"); }

// What a change costs, in a sentence.
std::string cost_words(const WhatIf& one) {
  const double usd = *one.price.usd;
  const std::string amount = usd_number(std::abs(usd)) + " USD";
  if (usd == 0) return "free of charge";
  if (!is_other_cluster(one)) return "for " + amount;
  return fmt::format("for hosts that cost {} {} than the present ones", amount, usd < 0 ? "less" : "more");
}

double percent(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

// Of what nobody sells, what others have: a hint where nothing that can be had helps.
bool is_link(const WhatIf& one) { return one.id == "all_links_x2" || one.id == "links_x2"; }

std::string why(const Prediction& p) {
  const double step_s = p.simulation.mean.step_s;
  std::vector<ExplainedPart> losses;
  for (const ExplainedPart& part : p.explained)
    if (part.part != "peak" && part.s >= kWorthSaying * step_s) losses.push_back(part);
  std::ranges::stable_sort(losses, std::greater(), &ExplainedPart::s);
  if (losses.size() > kLossesSaid) losses.resize(kLossesSaid);
  const double peak_s = !p.explained.empty() && p.explained[0].part == "peak" ? p.explained[0].s : 0;
  std::string text =
      fmt::format("{:.1f} % of the step is arithmetic at the devices' peak", percent(peak_s, step_s));
  for (size_t i = 0; i < losses.size(); ++i)
    text += fmt::format("{} {} {:.1f} %", i == 0 ? "; the rest, mostly:" : ",", part_text(losses[i].part),
                        percent(losses[i].s, step_s));
  return text + ".";
}

std::string less(const WhatIf& one, double step_s) {
  std::string text = fmt::format("{}: {:.1f} % less time", one.change, percent(one.gain_s, step_s));
  if (one.days_saved) text += fmt::format(", {} less for the run", days_text(*one.days_saved));
  return text;
}

// The setting that gains most; and faster links, where no cluster that can be had helps.
std::string what_helps(const Prediction& p) {
  const double step_s = p.simulation.step_s;
  const WhatIf *setting = nullptr, *link = nullptr;
  bool other_cluster = false;
  for (const WhatIf& one : p.outlook.what_if) {
    if (one.gain_s < kWorthSaying * step_s) continue;
    other_cluster |= one.kind == ChangeKind::kCluster;
    if (!setting && one.kind == ChangeKind::kSetting) setting = &one;
    if (!link && is_link(one)) link = &one;
  }
  std::string text = "No other setting that was tried shortens it by 2 % or more.";
  if (setting) {
    text = "The setting that helps most: " + less(*setting, step_s);
    if (setting->usd_saved) text += fmt::format(" and {} USD less", usd_number(*setting->usd_saved));
    text += ".";
  }
  if (link && !other_cluster) text += fmt::format(" Faster links would help: {}.", less(*link, step_s));
  return text;
}

// What can be bought or installed, by what a token costs then. Empty where nothing gains, or no price is known.
std::string what_pays(const Prediction& p) {
  const WhatIf* best = nullptr;
  for (const WhatIf& one : p.outlook.what_if)
    if (one.kind == ChangeKind::kCluster && one.token_cost_change &&
        one.gain_s >= kWorthSaying * p.simulation.step_s &&
        (!best || *one.token_cost_change < *best->token_cost_change))
      best = &one;
  if (!best) return "";
  const double cost = *best->token_cost_change;
  const char* const sign = cost < 0 ? "less" : "more";
  std::string text =
      fmt::format("{}: {}, {}; a token then costs {:.1f} % {}",
                  cost < 0 ? "The purchase or driver that pays best" : "No purchase pays; the nearest to it",
                  less(*best, p.simulation.step_s), cost_words(*best), 100 * std::abs(cost), sign);
  if (best->usd_saved) text += fmt::format(", the run {} USD {}", usd_number(std::abs(*best->usd_saved)), sign);
  const auto other = std::ranges::find(p.outlook.what_if, "layout", &WhatIf::id);
  if (best->id.ends_with(kBestLayout) && other != p.outlook.what_if.end())
    text += fmt::format(" (another layout alone: {:.1f} % less time)", percent(other->gain_s, p.simulation.step_s));
  return text + ".";
}

// The same change with the layout that is best after it; nullptr: as now.
const WhatIf* with_best_layout(const std::vector<WhatIf>& list, const WhatIf& one) {
  const auto found = std::ranges::find(list, one.id + std::string(kBestLayout), &WhatIf::id);
  return found == list.end() ? nullptr : &*found;
}
// Of its hardware, whatever the layout.
std::string_view id_of_change(const WhatIf& one) {
  std::string_view id = one.id;
  if (id.ends_with(kBestLayout)) id.remove_suffix(kBestLayout.size());
  return id;
}
const WhatIf* with_layout_as_now(const std::vector<WhatIf>& list, const WhatIf& one) {
  if (!one.id.ends_with(kBestLayout)) return nullptr;
  const auto found = std::ranges::find(list, id_of_change(one), &WhatIf::id);
  return found == list.end() ? nullptr : &*found;
}

std::string what_if_legend(const std::vector<WhatIf>& list, const std::vector<std::string>& sources) {
  if (sources.empty()) return "";
  std::string text =
      std::ranges::any_of(list, is_other_cluster)
          ? "  extra USD: what the run's hosts then cost more than the present ones, all bought new. Who owns "
            "these "
            "already\n  pays the price with hosts that stands below, less what these still sell for.\n"
          : "  extra USD: what has to be bought for all hosts of the run.\n";
  text += "  USD/token: hosts and change written off over 3 years, and power, against now. Prices:\n";
  for (const std::string& source : sources) text += "    " + source + "\n";
  return text;
}

}  // namespace

std::vector<std::string> threshold_sentences(const Outlook& outlook) {
  std::vector<std::string> sentences;
  for (const LinkCurve& curve : outlook.curves) {
    if (!curve.enough_gb_per_s)
      sentences.push_back(fmt::format("Links {}: up to {} GB/s {} more still helps (now {}).", curve.links,
                                      short_number(curve.points.back().gb_per_s), curve.unit,
                                      short_number(curve.now_gb_per_s)));
    else if (*curve.enough_gb_per_s <= curve.now_gb_per_s)
      sentences.push_back(fmt::format("Links {}: faster ones gain less than 2 % (now {} GB/s {}).", curve.links,
                                      short_number(curve.now_gb_per_s), curve.unit));
    else
      sentences.push_back(fmt::format("Links {}: from about {} GB/s {} on, more gains less than 2 % (now {}).",
                                      curve.links, about(*curve.enough_gb_per_s), curve.unit,
                                      short_number(curve.now_gb_per_s)));
  }
  for (const LinkThreshold& threshold : outlook.thresholds)
    sentences.push_back(
        threshold.gb_per_s
            ? fmt::format("{} communication would vanish behind compute from about {} GB/s {}.",
                          name(threshold.axis), about(*threshold.gb_per_s), threshold.links)
            : fmt::format(
                  "{} communication does not vanish by faster links {} alone: {} GB/s leave it above 1 % of "
                  "the step.",
                  name(threshold.axis), threshold.links, short_number(threshold.most_gb_per_s)));
  return sentences;
}

std::vector<std::string> answer(const Prediction& p) {
  if (p.simulation.oversubscribed) return {};
  std::vector<std::string> lines = {why(p)};
  if (p.outlook.what_if.empty()) return lines;
  lines.push_back(what_helps(p));
  if (std::string pays = what_pays(p); !pays.empty()) lines.push_back(std::move(pays));
  return lines;
}

std::string what_if_text(const std::vector<WhatIf>& list, double step_s) {
  if (list.empty()) return "";
  const bool of_a_run = std::ranges::any_of(list, [](const WhatIf& one) { return one.days_saved.has_value(); });
  std::string text = fmt::format(
      "what would shorten the step, each simulated\n  {:>12} {:>8}{}  {:>12} {:>9}  "
      "{}\n",
      "saved", "of step", of_a_run ? fmt::format(" {:>10} {:>12}", "days saved", "USD saved") : "", "extra USD",
      "USD/token", "change");
  const auto or_dash = [](const std::optional<double>& value, auto words) {
    return value ? words(*value) : std::string("-");
  };
  std::vector<std::string> sources;
  for (const WhatIf& one : list) {
    if (with_best_layout(list, one)) continue;
    text += fmt::format("  {:>10.4f} s {:>6.1f} %", one.gain_s, percent(one.gain_s, step_s));
    if (of_a_run)
      text +=
          fmt::format(" {:>10} {:>12}", or_dash(one.days_saved, rough_number), or_dash(one.usd_saved, usd_number));
    text += fmt::format("  {:>12} {:>9}  {}",
                        one.price.usd                      ? usd_number(*one.price.usd)
                        : one.kind == ChangeKind::kCluster ? "not known"
                                                           : "not sold",
                        one.token_cost_change ? fmt::format("{:+.1f} %", 100 * *one.token_cost_change) : "-",
                        one.change);
    const WhatIf* as_now = with_layout_as_now(list, one);
    if (as_now) text += fmt::format(" ({:.1f} % with the layout as it is)", percent(as_now->gain_s, step_s));
    text += "\n";
    if (one.kind == ChangeKind::kCluster)
      sources.push_back(fmt::format("{}: {}", id_of_change(one), one.price.source));
  }
  return text + what_if_legend(list, sources);
}

std::string prediction_text(const Prediction& p) {
  const double step_s = p.simulation.step_s;
  const StepBreakdown& mean = p.simulation.mean;
  std::string text = fmt::format(
      "predicted  on {}: {:.3g} s a step ({:.3g} to {:.3g} s: "
      "{}), {} tokens/s, {:.1f} % of the devices' peak (MFU)\n",
      p.profile.name, step_s, step_s * p.certainty.low, step_s * p.certainty.high, certainty_words(p.certainty),
      format_count(static_cast<int64_t>(p.tokens_per_s)), 100 * p.mfu);
  if (!p.emulated_links.empty())
    text += fmt::format(
        "  links as slow, against these CPUs' compute, as those of {}: {:.4g} times slower than real "
        "time; its devices would take {:.3g} s\n",
        p.emulated_links, p.dilation, step_s / p.dilation);
  for (const std::string& line : answer(p)) text += fmt::format("  {}\n", line);
  for (const ExplainedPart& part : p.explained)
    if (!p.simulation.oversubscribed && (part.part == "peak" || part.s >= kShown * mean.step_s))
      text += fmt::format(
          "  {:<32}{:>10.4f} s {:>6.1f} "
          "%\n",
          part_text(part.part), part.s, 100 * part.s / mean.step_s);
  for (const Axis axis : kAxes)
    if (mean.hidden(axis) > 0 && !p.simulation.oversubscribed)
      text += fmt::format("  {:<32}{:>10.4f} s\n", fmt::format("{} communication, hidden", name(axis)),
                          mean.hidden(axis));
  text +=
      fmt::format("  {} of the largest rank, {} for a plan on a {}\n", format_bytes(p.memory_bytes),
                  format_bytes(static_cast<int64_t>(p.profile.device.plannable_bytes())), p.profile.device.name);
  text += what_if_text(p.outlook.what_if, step_s);
  const std::vector<std::string> sentences = threshold_sentences(p.outlook);
  if (!sentences.empty()) text += "what links would have to reach\n";
  for (const std::string& sentence : sentences) text += fmt::format("  {}\n", sentence);
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

nlohmann::ordered_json explained_json(const std::vector<ExplainedPart>& parts) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const ExplainedPart& part : parts) json.push_back({{"part", part.part}, {"s", part.s}});
  return json;
}

nlohmann::ordered_json outlook_json(const Outlook& outlook) {
  using Json = nlohmann::ordered_json;
  const auto or_null = [](const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); };
  Json what_if = Json::array(), curves = Json::array(), thresholds = Json::array();
  for (const WhatIf& one : outlook.what_if)
    what_if.push_back({{"id", one.id},
                       {"change", one.change},
                       {"step_s", one.step_s},
                       {"gain_s", one.gain_s},
                       {"kind", name(one.kind)},
                       {"usd", or_null(one.price.usd)},
                       {"price_source", one.price.source},
                       {"token_cost_change", or_null(one.token_cost_change)},
                       {"days_saved", or_null(one.days_saved)},
                       {"usd_saved", or_null(one.usd_saved)}});
  for (const LinkCurve& curve : outlook.curves) {
    Json points = Json::array(), markers = Json::array();
    for (const LinkCurve::Point& point : curve.points)
      points.push_back({{"gb_per_s", point.gb_per_s}, {"step_s", point.step_s}});
    for (const auto& [words, gb_per_s] : curve.markers)
      markers.push_back({{"name", words}, {"gb_per_s", gb_per_s}});
    curves.push_back({{"links", curve.links},
                      {"unit", curve.unit},
                      {"now_gb_per_s", curve.now_gb_per_s},
                      {"enough_gb_per_s", or_null(curve.enough_gb_per_s)},
                      {"points", points},
                      {"markers", markers}});
  }
  for (const LinkThreshold& threshold : outlook.thresholds)
    thresholds.push_back(
        {{"axis", name(threshold.axis)}, {"links", threshold.links}, {"gb_per_s", or_null(threshold.gb_per_s)}});
  return {{"what_if", what_if},
          {"link_curves", curves},
          {"thresholds", thresholds},
          {"link_sentences", threshold_sentences(outlook)}};
}

nlohmann::ordered_json prediction_json(const Prediction& p) {
  nlohmann::ordered_json json, mean;
  const double step_s = p.simulation.step_s;
  for (const EventKind kind : kKinds) mean[fmt::format("{}_s", name(kind))] = p.simulation.mean[kind];
  json["cluster"] = p.profile.name;
  json["certainty"] = {
      {"class", p.certainty.kind}, {"low_s", step_s * p.certainty.low}, {"high_s", step_s * p.certainty.high}};
  if (!p.emulated_links.empty()) json["emulate_links"] = p.emulated_links, json["dilation"] = p.dilation;
  json["fits"] = p.fits;
  json["step_s"] = step_s;
  json["mean"] = p.simulation.oversubscribed ? nlohmann::ordered_json(nullptr) : mean;
  json["tokens_per_s"] = p.tokens_per_s;
  json["mfu"] = p.mfu;
  json["peak_tflops"] = p.peak_flops * 1e-12;
  json["peak_source"] = p.profile.name;
  json["memory_bytes"] = p.memory_bytes;
  json["answer"] = answer(p);
  json["explain"] = p.simulation.oversubscribed ? nlohmann::ordered_json(nullptr) : explained_json(p.explained);
  json.update(outlook_json(p.outlook));
  return json;
}

}  // namespace trine
