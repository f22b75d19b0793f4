#include "analysis/report/html.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <tuple>

#include "analysis/report/page_texts.h"
#include "analysis/report/report_json.h"
#include "analysis/report/step_view.h"
#include "base/error.h"
#include "base/output_file.h"
#include "trace/classify.h"

namespace trine {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostEvents = 110'000;  // of the page: under 3 MB
constexpr int64_t kTick_ns = 100;        // the timeline's unit of time

// A JSON text inside a <script>: no "</" may stand in it.
std::string in_script(const Json& json) {
  std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  for (size_t at = 0; (at = text.find("</", at)) != text.npos; at += 3) text.replace(at, 2, "<\\/");
  return text;
}

std::string in_html(const std::string& text) {
  std::string escaped;
  for (const char c : text)
    escaped += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : std::string(1, c);
  return escaped;
}

void replace(std::string& text, std::string_view what, std::string_view by) {
  const size_t at = text.find(what);
  text.replace(at, what.size(), by);
}

// Which events of the chosen steps are long enough to be shown.
struct Choice {
  std::vector<int> steps;   // rising
  int64_t shortest_ns = 0;  // shorter ones are left out
  size_t num_left_out = 0;
};

Choice choose(const Trace& trace, const Report& report) {
  std::map<int, size_t> sizes;
  for (const RankTrace& rank : trace.ranks)
    for (const StepTrace& step : rank.steps) sizes[step.step] += step.events.size();
  Choice choice{.steps = {report.typical_step}};
  size_t sum = sizes.at(report.typical_step);
  for (const auto& [step, size] : sizes)
    if (step != report.typical_step && sum + size <= kMostEvents) sum += size, choice.steps.push_back(step);
  std::ranges::sort(choice.steps);
  if (sum <= kMostEvents) return choice;
  std::vector<int64_t> durations;
  for (const RankTrace& rank : trace.ranks)
    for (const StepTrace& step : rank.steps)
      if (step.step == report.typical_step)
        for (const TraceEvent& event : step.events) durations.push_back(event.t1_ns - event.t0_ns);
  const auto limit = durations.begin() + static_cast<ptrdiff_t>(durations.size() - kMostEvents);
  std::ranges::nth_element(durations, limit);
  choice.shortest_ns = *limit + 1;
  choice.num_left_out =
      static_cast<size_t>(std::ranges::count_if(durations, [&](int64_t ns) { return ns < choice.shortest_ns; }));
  return choice;
}

// Five numbers an event: begin after the event before it, length, lane * 16 + kind, node, microbatch.
std::string events_text(const StepTrace& step, int64_t origin_ns, int64_t shortest_ns) {
  std::vector<const TraceEvent*> events;
  for (const TraceEvent& event : step.events)
    if (event.t1_ns - event.t0_ns >= shortest_ns) events.push_back(&event);
  std::ranges::stable_sort(events, {}, [](const TraceEvent* event) { return event->t0_ns; });
  fmt::memory_buffer text;
  int64_t before = 0;
  for (const TraceEvent* event : events) {
    const int64_t begin = (event->t0_ns - origin_ns) / kTick_ns;
    fmt::format_to(std::back_inserter(text), "{}{},{},{},{},{}", text.size() > 0 ? "," : "", begin - before,
                   (event->t1_ns - event->t0_ns) / kTick_ns,
                   static_cast<int>(event->lane) * 16 + static_cast<int>(event->kind), event->node,
                   event->microbatch);
    before = begin;
  }
  return fmt::to_string(text);
}

// Of each message whose both ends were read: index of the sender, when it is sent, index of the receiver, when its
// bytes are there.
std::string arrows_text(const StepView& view, const Report& report, int64_t origin_ns) {
  using Key = std::tuple<int, int, bool, int>;  // sender, receiver, backward, sequence
  std::map<Key, int64_t> sent;
  std::vector<std::pair<Key, int64_t>> received;
  for (const RankView& rank : view.ranks)
    for (const TraceEvent& event : rank.step->events) {
      const NodeLabel* label = view.trace->label(*rank.rank, event);
      if (!label || event.peer < 0 || event.sequence < 0 || !is_wire(event.kind)) continue;
      const Coordinate at = rank.rank->coordinate;
      const int own = rank.rank->rank, peer = view.trace->mesh.rank({event.peer, at.dp, at.tp});
      const bool backward = label->op.ends_with("_grad");
      if (label->op.starts_with("send"))
        sent.try_emplace({own, peer, backward, event.sequence}, event.t0_ns);
      else if (event.bytes > 0)
        received.push_back({{peer, own, backward, event.sequence}, event.t1_ns});
    }
  std::string text;
  for (const auto& [key, arrived_ns] : received)
    if (const auto at = sent.find(key); at != sent.end())
      text += fmt::format("{}{},{},{},{}", text.empty() ? "" : ",", report.index(std::get<0>(key)),
                          (at->second - origin_ns) / kTick_ns, report.index(std::get<1>(key)),
                          (arrived_ns - origin_ns) / kTick_ns);
  return text;
}

std::string timeline(const Trace& trace, const Report& report, const Choice& choice) {
  Json labels = Json::array(), stages = Json::array(), lanes = Json::array(), kinds = Json::array();
  for (const auto& nodes : trace.nodes) {
    Json& of = labels.emplace_back(Json::array());
    for (const NodeLabel& node : nodes) of.push_back({node.op, node.scope, node.phase});
  }
  for (const RankTrace& rank : trace.ranks) stages.push_back(rank.coordinate.pp);
  for (const Lane lane : kLanes) lanes.push_back(name(lane));
  for (int k = 0; k < kNumEventKinds; ++k) kinds.push_back(name(static_cast<EventKind>(k)));
  std::string text = fmt::format(
      "{{\"tick_s\":{},\"left_out\":{},\"shortest_s\":{},\"lanes\":{},\"kinds\":{},\"nodes\":{},\"stages\":{},"
      "\"steps\":[",
      static_cast<double>(kTick_ns) * 1e-9, choice.num_left_out, static_cast<double>(choice.shortest_ns) * 1e-9,
      in_script(lanes), in_script(kinds), in_script(labels), in_script(stages));
  for (size_t i = 0; i < choice.steps.size(); ++i) {
    const StepView view = view_step(trace, choice.steps[i]);
    int64_t begin_ns = INT64_MAX, end_ns = INT64_MIN;
    for (const RankView& rank : view.ranks)
      begin_ns = std::min(begin_ns, rank.step->begin_ns), end_ns = std::max(end_ns, rank.step->end_ns);
    text += fmt::format("{}{{\"step\":{},\"length\":{},\"arrows\":[{}],\"ranks\":[", i > 0 ? "," : "",
                        choice.steps[i], (end_ns - begin_ns) / kTick_ns, arrows_text(view, report, begin_ns));
    for (size_t r = 0; r < trace.ranks.size(); ++r) {
      const RankView* rank = view.find(trace.ranks[r].rank);
      text += fmt::format("{}[{}]", r > 0 ? "," : "",
                          rank ? events_text(*rank->step, begin_ns, choice.shortest_ns) : "");
    }
    text += "]}";
  }
  return text + "]}";
}

std::string page_of(const Trace& trace, const Report& report, const std::string& name, const Json& data) {
  std::string page(page_html());
  replace(page, "@title@", in_html(name));
  replace(page, "@style@", page_style());
  replace(page, "@report@", in_script(data));
  replace(page, "@timeline@", timeline(trace, report, choose(trace, report)));
  replace(page, "@script@", page_script());
  return page;
}

}  // namespace

std::string report_html(const Trace& trace, const Report& report, const std::string& name,
                        const std::vector<std::pair<int, double>>& losses) {
  Json json = report_json(report);
  json["name"] = name;
  json["losses"] = losses;
  return page_of(trace, report, name, json);
}

std::string planner_html(const Trace& trace, const Report& report, const Json& planner) {
  Json json = report_json(report);
  const std::string name = fmt::format("{} on {} x {}", planner["model"].get<std::string>(),
                                       planner["devices"].get<int>(), planner["cluster"].get<std::string>());
  json["name"] = name;
  json["losses"] = Json::array();
  json["planner"] = planner;
  return page_of(trace, report, name, json);
}

void write_page(const std::string& path, const std::string& page) {
  OutputFile file(path);
  file.append(page);
  if (const auto problem = file.take_warning()) throw DataError(*problem);
}

}  // namespace trine
