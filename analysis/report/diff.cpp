#include "analysis/report/diff.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>

#include "analysis/report/wording.h"

namespace trine {
namespace {

using Seconds = std::map<std::string, double>;

Seconds path_by(const Report& report, auto&& key_of) {
  Seconds seconds;
  for (const PathPart& part : report.critical_path) seconds[key_of(part)] += part.s;
  return seconds;
}

double at(const Seconds& seconds, const std::string& key) {
  const auto found = seconds.find(key);
  return found == seconds.end() ? 0 : found->second;
}

// `felt` both paths by the same keys, or nothing.
std::vector<Difference> differences(const Seconds& before, const Seconds& after,
                                    const std::optional<std::pair<Seconds, Seconds>>& felt) {
  Seconds keys = before;
  keys.insert(after.begin(), after.end());
  std::vector<Difference> list;
  for (const auto& [key, unused] : keys) {
    Difference one{key, at(before, key), at(after, key), std::nullopt};
    if (felt) one.felt_s = at(felt->second, key) - at(felt->first, key);
    if (one.change_s() != 0) list.push_back(one);
  }
  std::ranges::stable_sort(list, std::greater(), [](const Difference& d) { return std::abs(d.change_s()); });
  return list;
}

Seconds categories_of(const Report& report) {
  Seconds seconds;
  for (int k = 0; k < kNumEventKinds; ++k)
    seconds[std::string(kind_text(static_cast<EventKind>(k)))] = report.mean.seconds[static_cast<size_t>(k)];
  return seconds;
}

Seconds links_of(const Report& report) {
  Seconds seconds;
  for (const LinkReport& link : report.links)
    seconds[fmt::format("{} {}", name(link.axis), link.op)] = link.exposed_s;
  return seconds;
}

Seconds ops_of(const Report& report) {
  Seconds seconds;
  for (const OpReport& op : report.ops) seconds[op.op] = op.s;
  return seconds;
}

// Without the time in which it waits or is on the wire: that is others' too.
Seconds own_time_of(const Report& report, const Report& other) {
  Seconds seconds;
  std::map<int, int> steps;
  for (const StepReport& step : report.steps)
    for (const auto& [rank, time] : step.ranks) {
      if (!std::ranges::binary_search(other.ranks, rank)) continue;
      seconds[fmt::format("rank {}", rank)] += own_s(time);
      ++steps[rank];
    }
  for (const auto& [rank, count] : steps) seconds[fmt::format("rank {}", rank)] /= count;
  return seconds;
}

std::string link_of(const PathPart& part) {
  const bool tp = part.kind == EventKind::kCommTp, pp = part.kind == EventKind::kCommPp,
             dp = part.kind == EventKind::kCommDp;
  return tp || pp || dp ? fmt::format("{} {}", path_name(part.kind), part.op) : "";
}

std::string signed_text(double s) { return (s < 0 ? "-" : "+") + seconds_text(std::abs(s)); }

nlohmann::ordered_json list_json(const std::vector<Difference>& list) {
  auto array = nlohmann::ordered_json::array();
  for (const Difference& one : list)
    array.push_back({{"what", one.what},
                     {"before_s", one.before_s},
                     {"after_s", one.after_s},
                     {"change_s", one.change_s()},
                     {"felt_s", one.felt_s ? nlohmann::ordered_json(*one.felt_s) : nullptr}});
  return array;
}

}  // namespace

ReportDiff diff(const Report& before, const Report& after) {
  const auto felt = [&](auto&& key_of) { return std::pair(path_by(before, key_of), path_by(after, key_of)); };
  ReportDiff diff{.before_s = before.mean.step_s, .after_s = after.mean.step_s};
  diff.categories = differences(categories_of(before), categories_of(after),
                                felt([](const PathPart& part) { return std::string(kind_text(part.kind)); }));
  // A wait is followed to its cause, so that no path has it.
  for (Difference& one : diff.categories)
    if (one.what == kind_text(EventKind::kWait) || one.what == kind_text(EventKind::kBubble)) one.felt_s.reset();
  diff.links = differences(links_of(before), links_of(after), felt(link_of));
  diff.ops = differences(ops_of(before), ops_of(after), felt([](const PathPart& part) { return part.op; }));
  diff.ranks = differences(own_time_of(before, after), own_time_of(after, before), std::nullopt);
  return diff;
}

std::string diff_text(const ReportDiff& diff, const std::string& before, const std::string& after, int top) {
  const double change_s = diff.after_s - diff.before_s;
  std::string text =
      fmt::format("A step of {} takes {}, of {} {}: {} {} ({:+.1f} %).\n", before, seconds_text(diff.before_s),
                  after, seconds_text(diff.after_s), seconds_text(std::abs(change_s)),
                  change_s < 0 ? "shorter" : "longer", diff.before_s > 0 ? 100 * change_s / diff.before_s : 0);
  const auto felt = std::ranges::max_element(diff.categories, {},
                                             [](const Difference& d) { return std::abs(d.felt_s.value_or(0)); });
  text +=
      felt == diff.categories.end()
          ? "No category changed.\n"
          : fmt::format("The step felt {} most: {} on the critical path, and {} of a rank's step in the mean.\n",
                        felt->what, signed_text(felt->felt_s.value_or(0)), signed_text(felt->change_s()));
  const std::pair<const char*, const std::vector<Difference>*> lists[] = {
      {"categories", &diff.categories},
      {"links (exposed)", &diff.links},
      {"operations", &diff.ops},
      {"ranks (own time: without waiting and communication)", &diff.ranks}};
  for (const auto& [title, list] : lists) {
    if (list->empty()) continue;
    text += fmt::format("\n{:<52} {:>9} {:>9} {:>10}  {}\n", title, "before", "after", "change",
                        list == &diff.ranks ? "" : "on the critical path");
    for (size_t i = 0; i < list->size() && std::cmp_less(i, top); ++i) {
      const Difference& one = (*list)[i];
      const bool unfelt = one.felt_s && std::abs(*one.felt_s) < 0.1 * std::abs(one.change_s());
      text += fmt::format("  {:<50} {:>9} {:>9} {:>10}  {}\n", one.what, seconds_text(one.before_s),
                          seconds_text(one.after_s), signed_text(one.change_s()),
                          !one.felt_s ? list == &diff.ranks ? "" : "follows from other changes"
                          : unfelt    ? "the step did not feel it"
                                      : signed_text(*one.felt_s));
    }
    if (std::cmp_greater(list->size(), top))
      text += fmt::format("  ... and {} more (--top)\n", list->size() - static_cast<size_t>(top));
  }
  return text;
}

nlohmann::ordered_json diff_json(const ReportDiff& diff) {
  return {
      {"before_s", diff.before_s},      {"after_s", diff.after_s},    {"categories", list_json(diff.categories)},
      {"links", list_json(diff.links)}, {"ops", list_json(diff.ops)}, {"ranks", list_json(diff.ranks)}};
}

}  // namespace trine
