#include <algorithm>
#include <set>

#include "analysis/report/analyses.h"
#include "trace/classify.h"

namespace trine {
namespace {

constexpr int64_t kMostCompared = 1 << 22;  // actions of all ranks, with which schedules are compared

// "layers.3.attention": 3; -1: of no layer.
int layer_of(std::string_view scope) {
  constexpr std::string_view kPrefix = "layers.";
  if (!scope.starts_with(kPrefix)) return -1;
  int layer = -1;
  for (const char c : scope.substr(kPrefix.size())) {
    if (c < '0' || c > '9' || layer > 100'000) break;
    layer = std::max(layer, 0) * 10 + (c - '0');
  }
  return layer;
}

// What a rank did, by action, from the phases of the nodes that ran in it.
std::vector<ActionSpan> actions_of(const StepView& view, const RankView& rank) {
  struct Seen {
    bool f = false, i = false, w = false;
    int microbatch = 0, chunk = 0;
    int64_t t0 = INT64_MAX, t1 = INT64_MIN;
  };
  std::map<int, Seen> seen;
  for (const TraceEvent& event : rank.step->events) {
    const NodeLabel* label = view.trace->label(*rank.rank, event);
    if (!label || event.lane != Lane::kCompute || event.microbatch < 0 || event.action < 0 ||
        is_waiting(event.kind) || is_wire(event.kind))
      continue;
    Seen& action = seen[event.action];
    (label->phase == "F" ? action.f : label->phase == "W" ? action.w : action.i) = true;
    action.microbatch = event.microbatch, action.chunk = std::max<int>(event.chunk, 0);
    action.t0 = std::min(action.t0, event.t0_ns), action.t1 = std::max(action.t1, event.t1_ns);
  }
  std::vector<ActionSpan> spans;
  for (const auto& [number, action] : seen) {
    const ActionKind kind = action.f               ? ActionKind::kForward
                            : action.i && action.w ? ActionKind::kBackward
                            : action.w             ? ActionKind::kWeightGrad
                                                   : ActionKind::kInputGrad;
    spans.push_back({{action.chunk * view.trace->mesh.pp + rank.rank->coordinate.pp, kind, action.microbatch},
                     action.t0 - view.ranks[0].step->begin_ns,
                     action.t1 - view.ranks[0].step->begin_ns});
  }
  // Where no action has weight gradients alone, a backward is whole, whatever its nodes say.
  const auto kind_of = [](const ActionSpan& span) { return span.action.kind; };
  if (std::ranges::find(spans, ActionKind::kWeightGrad, kind_of) == spans.end())
    for (ActionSpan& span : spans)
      if (span.action.kind == ActionKind::kInputGrad) span.action.kind = ActionKind::kBackward;
  return spans;
}

// The kind whose schedules are what every rank of the line did.
std::optional<PipelineKind> kind_of(const std::vector<std::vector<ActionSpan>>& ran, int pp, int vpp, int m) {
  for (const PipelineKind kind :
       {PipelineKind::k1F1B, PipelineKind::kInterleaved, PipelineKind::kGpipe, PipelineKind::kZeroBubble}) {
    if ((vpp > 1) != (kind == PipelineKind::kInterleaved)) continue;
    if (vpp > 1 && interleaved_problem(pp, m)) continue;
    const std::vector<Schedule> schedules = make_schedules(kind, pp, vpp, m);
    bool same = true, any = false;
    for (size_t p = 0; p < ran.size() && same; ++p) {
      if (ran[p].empty()) continue;  // was not read
      any = true;
      same = std::ranges::equal(schedules[p], ran[p], {}, {}, &ActionSpan::action);
    }
    if (same && any) return kind;
  }
  return std::nullopt;
}

}  // namespace

void PipelineAnalysis::add(const StepView& view, bool typical) {
  const int pp = view.trace->mesh.pp;
  for (const RankView& rank : view.ranks) {
    const int at = rank.rank->coordinate.pp;
    ++rank_steps_[at];
    std::map<int, std::set<int>> layers;
    for (const TraceEvent& event : rank.step->events) {
      const NodeLabel* label = view.trace->label(*rank.rank, event);
      if (!label || event.lane != Lane::kCompute || event.microbatch < 0 || is_wire(event.kind) ||
          is_waiting(event.kind))
        continue;
      const int chunk = std::clamp<int>(event.chunk, 0, 4095);
      vpp_ = std::max(vpp_, chunk + 1), microbatches_ = std::max(microbatches_, event.microbatch + 1);
      Stage& stage = stages_[{at, chunk}];
      stage.s += static_cast<double>(event.t1_ns - event.t0_ns) * 1e-9, stage.flops += event.flops;
      if (const int layer = layer_of(label->scope); layer >= 0) layers[chunk].insert(layer);
    }
    for (const auto& [chunk, of] : layers) layers_[{at, chunk}] = static_cast<int>(of.size());
    const Coordinate c = rank.rank->coordinate;
    if (!typical || pp < 2 || c.dp != 0 || c.tp != 0) continue;
    ran_.resize(static_cast<size_t>(pp));
    ran_[static_cast<size_t>(at)] = actions_of(view, rank);
  }
}

void PipelineAnalysis::finish(Report& report) const {
  PipelineReport& to = report.pipeline;
  to.pp = report.mesh.pp, to.vpp = vpp_, to.microbatches = microbatches_;
  to.bubble_s = report.mean[EventKind::kBubble];
  to.bubble_share = report.mean.step_s > 0 ? to.bubble_s / report.mean.step_s : 0;
  if (to.pp < 2 || microbatches_ == 0) return;
  std::map<int, double> by_rank;
  for (const auto& [key, stage] : stages_) {
    const auto [pp, chunk] = key;
    const double steps = rank_steps_.at(pp), microbatches = steps * microbatches_;
    const auto layers = layers_.find(key);
    to.stages.push_back({chunk * to.pp + pp, pp, stage.s / microbatches, stage.flops / microbatches,
                         layers == layers_.end() ? 0 : layers->second});
    by_rank[pp] += stage.s / steps;
  }
  std::ranges::sort(to.stages, {}, &StageReport::stage);
  double sum = 0, most = 0;
  for (const auto& [pp, s] : by_rank) sum += s, most = std::max(most, s);
  to.uneven_s = most - sum / static_cast<double>(by_rank.size());
  to.ran = ran_;
  if (int64_t{microbatches_} * to.pp * vpp_ > kMostCompared) return;
  to.kind = kind_of(ran_, to.pp, vpp_, microbatches_);
  if (to.kind) to.ideal_share = ideal_bubble(*to.kind, to.pp, vpp_, microbatches_).share;
}

}  // namespace trine
