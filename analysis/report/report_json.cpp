#include "analysis/report/report_json.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>

#include "analysis/prediction_report.h"
#include "analysis/report/wording.h"

namespace trine {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

template <typename T>
Json array_of(const std::vector<T>& values, auto&& json_of) {
  Json array = Json::array();
  for (const T& value : values) array.push_back(json_of(value));
  return array;
}

Json step_json(const Report& report, const StepReport& step) {
  Json ranks = Json::array();
  for (const auto& [rank, time] : step.ranks) {
    const Coordinate at = report.mesh.coordinate(rank);
    Json one = {{"rank", rank},         {"pp", at.pp}, {"dp", at.dp}, {"tp", at.tp}, {"host", report.host(rank)},
                {"step_s", time.step_s}};
    one.update(breakdown_json(time));
    ranks.push_back(one);
  }
  return {{"step", step.step}, {"step_s", step.mean.step_s}, {"mean", breakdown_json(step.mean)}, {"ranks", ranks}};
}

// One part a kind, longest first: what INTERFACE promises; where it lies is in critical_path_parts.
Json path_by_kind(const Report& report) {
  std::map<std::string_view, double> seconds;
  for (const PathPart& part : report.critical_path) seconds[path_name(part.kind)] += part.s;
  std::vector<std::pair<std::string_view, double>> parts(seconds.begin(), seconds.end());
  std::ranges::stable_sort(parts, std::greater(), &std::pair<std::string_view, double>::second);
  return array_of(parts, [](const auto& part) { return Json{{"kind", part.first}, {"s", part.second}}; });
}

Json action_json(const ActionSpan& span) {
  return {{"action", to_string(span.action)},
          {"t0_s", static_cast<double>(span.t0_ns) * 1e-9},
          {"t1_s", static_cast<double>(span.t1_ns) * 1e-9}};
}

Json pipeline_json(const PipelineReport& pipeline) {
  Json ran = Json::array();
  for (const auto& spans : pipeline.ran) ran.push_back(array_of(spans, action_json));
  return {{"pp", pipeline.pp},
          {"vpp", pipeline.vpp},
          {"microbatches", pipeline.microbatches},
          {"schedule", pipeline.kind ? Json(text_of(*pipeline.kind)) : Json(nullptr)},
          {"bubble_s", pipeline.bubble_s},
          {"bubble_share", pipeline.bubble_share},
          {"ideal_share", or_null(pipeline.ideal_share)},
          {"uneven_s", pipeline.uneven_s},
          {"stages", array_of(pipeline.stages,
                              [](const StageReport& stage) {
                                return Json{{"stage", stage.stage},
                                            {"pp", stage.pp},
                                            {"s_per_microbatch", stage.s},
                                            {"flops_per_microbatch", stage.flops},
                                            {"layers", stage.layers}};
                              })},
          {"ran", ran}};
}

Json finding_json(const Finding& finding) {
  return {{"text", finding.text},
          {"kind", finding.kind},
          {"rank", or_null(finding.rank)},
          {"stage", or_null(finding.stage)},
          {"axis", finding.axis ? Json(name(*finding.axis)) : Json(nullptr)},
          {"s", finding.s}};
}

}  // namespace

Json breakdown_json(const StepBreakdown& time) {
  Json json;
  for (int k = 0; k < kNumEventKinds; ++k)
    json[fmt::format("{}_s", name(static_cast<EventKind>(k)))] = time.seconds[static_cast<size_t>(k)];
  return json;
}

Json report_json(const Report& report) {
  Json json;
  json["mesh"] = {{"pp", report.mesh.pp}, {"dp", report.mesh.dp}, {"tp", report.mesh.tp}};
  json["backend"] = report.backend;
  if (const ModelledTime& modelled = report.modelled; !modelled.cluster.empty()) {
    json[modelled.links_only ? "emulate_links" : "rehearsal"] = modelled.cluster;
    json[modelled.links_only ? "dilation" : "speed_up"] = modelled.times;
    json["clocks"] = clocks_text(report);
  }
  json["ranks"] = report.ranks;
  json["step_s"] = report.mean.step_s;
  json["mean"] = breakdown_json(report.mean);
  for (const Axis axis : kAxes) json["hidden_comm"][fmt::format("{}_s", name(axis))] = report.mean.hidden(axis);
  json["typical_step"] = report.typical_step;
  json["findings"] = array_of(report.findings, finding_json);
  json["explain"] = explained_json(report.explained);
  json["predicted"] = report.explanation ? prediction_json(report.explanation->prediction) : Json(nullptr);
  json["steps"] = array_of(report.steps, [&](const StepReport& step) { return step_json(report, step); });
  json["links"] = array_of(report.links, [](const LinkReport& link) {
    return Json{{"axis", name(link.axis)},     {"op", link.op},
                {"count", link.count},         {"bytes", link.bytes},
                {"exposed_s", link.exposed_s}, {"hidden_s", link.hidden_s},
                {"wait_s", link.wait_s},       {"gb_per_s", link.gb_per_s}};
  });
  json["groups"] = array_of(report.groups, [](const GroupReport& group) {
    return Json{{"axis", name(group.axis)}, {"ranks", group.ranks}, {"gb_per_s", group.gb_per_s()}};
  });
  json["waits"] = report.waits;
  json["stragglers"] = array_of(report.stragglers, [](const Straggler& late) {
    return Json{{"rank", late.rank}, {"late_s", late.late_s}, {"cause", name(late.cause)}, {"steady", late.steady}};
  });
  json["critical_path"] = path_by_kind(report);
  json["critical_path_parts"] = array_of(report.critical_path, [](const PathPart& part) {
    return Json{{"kind", path_name(part.kind)}, {"stage", part.stage}, {"op", part.op}, {"s", part.s}};
  });
  json["ops"] = array_of(report.ops, [](const OpReport& op) {
    return Json{{"op", op.op},       {"count", op.count}, {"s", op.s},
                {"flops", op.flops}, {"bytes", op.bytes}, {"roof_share", op.roof_share}};
  });
  json["pipeline"] = pipeline_json(report.pipeline);
  json["odd_steps"] = array_of(report.odd_steps, [](const OddStep& odd) {
    return Json{{"step", odd.step},
                {"late_s", odd.late_s},
                {"cause", path_name(odd.cause)},
                {"rank", odd.rank >= 0 ? Json(odd.rank) : Json(nullptr)}};
  });
  json["memory"] = array_of(report.memory, [](const MemoryReport& memory) {
    return Json{
        {"rank", memory.rank}, {"arena_bytes", memory.arena_bytes}, {"resident_bytes", memory.resident_bytes}};
  });
  return json;
}

}  // namespace trine
