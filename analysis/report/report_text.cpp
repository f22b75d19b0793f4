#include "analysis/report/report_text.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <set>

#include "analysis/prediction_report.h"
#include "analysis/report/wording.h"
#include "base/text.h"
#include "trace/classify.h"

namespace trine {
namespace {

class Text {
 public:
  Text(const Report& report, size_t top) : report_(report), top_(top), step_s_(report.mean.step_s) {}

  std::string all(const std::string& name) {
    answer();
    what_was_read(name);
    categories();
    explanation();
    links();
    waits();
    stragglers();
    critical_path();
    operations();
    pipeline();
    odd_steps();
    memory();
    return std::move(text_);
  }

 private:
  template <typename... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    text_ += fmt::format(format, std::forward<Args>(args)...) + '\n';
  }
  void title(std::string_view words) { line("\n{}", words); }
  std::string share(double s) const { return percent_text(s, step_s_); }
  // What a table of `size` rows leaves out.
  void rest(size_t size) {
    if (size > top_) line("  ... and {} more (--top)", size - top_);
  }

  void answer();
  void what_was_read(const std::string& name);
  void categories();
  void explanation();
  void links();
  void waits();
  void stragglers();
  void critical_path();
  void operations();
  void pipeline();
  void odd_steps();
  void memory();

  const Report& report_;
  const size_t top_;
  const double step_s_;
  std::string text_;
};

void Text::answer() {
  double stalled_s = 0;
  std::string parts;
  std::vector<std::pair<double, EventKind>> kinds;
  for (int k = 0; k < kNumEventKinds; ++k) {
    const auto kind = static_cast<EventKind>(k);
    if (!is_wire(kind) && !is_waiting(kind) && kind != EventKind::kIdle) continue;
    stalled_s += report_.mean[kind];
    if (report_.mean[kind] >= 0.005 * step_s_) kinds.emplace_back(report_.mean[kind], kind);
  }
  std::ranges::stable_sort(kinds, std::greater(), &std::pair<double, EventKind>::first);
  for (const auto& [s, kind] : kinds)
    parts += fmt::format("{}{} {}", parts.empty() ? ": " : ", ", kind_text(kind), share(s));
  line("A step takes {}. In {} of it a rank does not compute{}.", seconds_text(step_s_), share(stalled_s), parts);
  for (size_t i = 0; i < report_.findings.size() && i < std::max<size_t>(top_, 2); ++i)
    line("{}. {}", i + 1, report_.findings[i].text);
}

void Text::what_was_read(const std::string& name) {
  const Mesh& mesh = report_.mesh;
  const std::set<std::string> hosts(report_.hosts.begin(), report_.hosts.end());
  std::string ranks = fmt::format("{}", mesh.num_ranks());
  if (std::cmp_less(report_.ranks.size(), mesh.num_ranks()))
    ranks = fmt::format("{} of {}", report_.ranks.size(), mesh.num_ranks());
  const int first = report_.steps.front().step, last = report_.steps.back().step;
  line("\n{}: {}, {} rank{} (pp {}, dp {}, tp {}) on {} host{}", name,
       first == last ? fmt::format("step {}", first)
                     : fmt::format("{} steps ({} to {})", report_.steps.size(), first, last),
       ranks, mesh.num_ranks() == 1 ? "" : "s", mesh.pp, mesh.dp, mesh.tp, hosts.size(),
       hosts.size() == 1 ? "" : "s");
  if (const std::string clocks = clocks_text(report_); !clocks.empty()) line("{}", clocks);
}

void Text::categories() {
  struct Extreme {
    double s = 0;
    int rank = 0;
  };
  title("where a step goes                mean            least of a rank         most of a rank");
  std::map<int, std::pair<StepBreakdown, double>> by_rank;
  for (const StepReport& step : report_.steps)
    for (const auto& [rank, time] : step.ranks) {
      auto& [sum, count] = by_rank[rank];
      for (size_t k = 0; k < sum.seconds.size(); ++k) sum.seconds[k] += time.seconds[k];
      ++count;
    }
  std::vector<EventKind> kinds;
  for (int k = 0; k < kNumEventKinds; ++k)
    if (report_.mean.seconds[static_cast<size_t>(k)] > 0) kinds.push_back(static_cast<EventKind>(k));
  std::ranges::stable_sort(kinds, std::greater(), [&](EventKind kind) { return report_.mean[kind]; });
  for (const EventKind kind : kinds) {
    Extreme least{1e300, -1}, most{-1, -1};
    for (const auto& [rank, sums] : by_rank) {
      const double s = sums.first[kind] / sums.second;
      if (s < least.s) least = {s, rank};
      if (s > most.s) most = {s, rank};
    }
    line("  {:<26} {:>9} {:>7}   {:>9} (rank {})  {:>9} (rank {})", kind_text(kind),
         seconds_text(report_.mean[kind]), share(report_.mean[kind]), seconds_text(least.s), least.rank,
         seconds_text(most.s), most.rank);
  }
  for (const Axis axis : kAxes)
    if (const double s = report_.mean.hidden(axis); s > 0)
      line("  {:<26} {:>9}           behind compute: costs nothing",
           fmt::format("hidden {} communication", name(axis)), seconds_text(s));
}

void Text::explanation() {
  if (!report_.explanation) return;
  const Prediction& p = report_.explanation->prediction;
  title(fmt::format("why: the step against the peak of {}", p.profile.name));
  for (const ExplainedPart& part : report_.explained)
    if (part.part == "peak" || part.s >= 0.0005 * step_s_)
      line("  {:<32} {:>9} {:>7}", part_text(part.part), seconds_text(part.s), share(part.s));
  const double s = p.simulation.step_s;
  line("  predicted on {}: {} a step ({} to {}); this trace: {:+.1f} %", p.profile.name, seconds_text(s),
       seconds_text(s * p.certainty.low), seconds_text(s * p.certainty.high), 100 * (step_s_ / s - 1));
  text_ += what_if_text(p.outlook.what_if, s);
  for (const std::string& sentence : threshold_sentences(p.outlook)) line("  {}", sentence);
}

void Text::links() {
  if (report_.links.empty()) return;
  title("links (per step: all ranks' messages and bytes, seconds of a rank in the mean)");
  line("  {:<4} {:<20} {:>8} {:>11} {:>8} {:>10} {:>10} {:>10}", "axis", "operation", "count", "bytes", "GB/s",
       "exposed", "hidden", "waiting");
  for (size_t i = 0; i < report_.links.size() && i < top_; ++i) {
    const LinkReport& link = report_.links[i];
    line("  {:<4} {:<20} {:>8.0f} {:>11} {:>8.3g} {:>10} {:>10} {:>10}", name(link.axis), link.op, link.count,
         format_bytes(static_cast<int64_t>(link.bytes)), link.gb_per_s, seconds_text(link.exposed_s),
         seconds_text(link.hidden_s), seconds_text(link.wait_s));
  }
  rest(report_.links.size());
}

void Text::waits() {
  struct Pair {
    double s;
    int waiting, waited_for;
  };
  std::vector<Pair> pairs;
  for (size_t i = 0; i < report_.waits.size(); ++i)
    for (size_t j = 0; j < report_.waits[i].size(); ++j)
      if (const double s = report_.waits[i][j]; s > 0.002 * step_s_)
        pairs.push_back({s, report_.ranks[i], report_.ranks[j]});
  if (pairs.empty()) return;
  std::ranges::stable_sort(pairs, std::greater(), &Pair::s);
  title("who waits for whom (per step)");
  for (size_t i = 0; i < pairs.size() && i < top_; ++i)
    line("  rank {:<5} waits {:>9} {:>7} for {}", pairs[i].waiting, seconds_text(pairs[i].s), share(pairs[i].s),
         rank_text(report_, pairs[i].waited_for));
  rest(pairs.size());
}

void Text::stragglers() {
  if (report_.stragglers.empty()) return;
  title("stragglers (own time beyond what their peers take for the same work, per step)");
  for (size_t i = 0; i < report_.stragglers.size() && i < top_; ++i) {
    const Straggler& late = report_.stragglers[i];
    line("  {:<46} {:>9} {:>7}  {}, {}", rank_text(report_, late.rank), seconds_text(late.late_s),
         share(late.late_s), name(late.cause), late.steady ? "steady" : "in bursts");
  }
  rest(report_.stragglers.size());
}

void Text::critical_path() {
  title("critical path of a step (what shortens it shortens the step)");
  std::map<std::pair<std::string_view, std::string>, std::map<int, double>> by_kind;  // then by stage
  for (const PathPart& part : report_.critical_path) by_kind[{path_name(part.kind), part.op}][part.stage] += part.s;
  struct Row {
    double s = 0;
    std::string text;
  };
  std::vector<Row> rows;
  for (const auto& [key, stages] : by_kind) {
    Row& row = rows.emplace_back();
    std::string where;
    for (const auto& [stage, s] : stages) row.s += s;
    for (const auto& [stage, s] : stages)
      if (s >= 0.1 * row.s) where += fmt::format("{}{}: {}", where.empty() ? "" : ", ", stage, seconds_text(s));
    if (report_.mesh.pp > 1) where = "  pp " + where;
    row.text = fmt::format("{:<11} {:<22} {:>9} {:>7}{}", key.first, key.second, seconds_text(row.s), share(row.s),
                           report_.mesh.pp > 1 ? where : "");
  }
  std::ranges::stable_sort(rows, std::greater(), &Row::s);
  for (size_t i = 0; i < rows.size() && i < top_; ++i) line("  {}", rows[i].text);
  rest(rows.size());
}

void Text::operations() {
  if (report_.ops.empty()) return;
  title("operations (per step: count of all ranks, seconds of a rank in the mean)");
  line("  {:<24} {:>8} {:>10} {:>8} {:>10} {:>9} {:>9}", "operation", "count", "time", "of step", "GFLOP/s", "GB/s",
       "of roof");
  const double ranks = static_cast<double>(report_.ranks.size());
  for (size_t i = 0; i < report_.ops.size() && i < top_; ++i) {
    const OpReport& op = report_.ops[i];
    const double rank_s = op.s * ranks;
    line("  {:<24} {:>8.0f} {:>10} {:>8} {:>10.4g} {:>9.4g} {:>8.0f} %", op.op, op.count, seconds_text(op.s),
         share(op.s), rank_s > 0 ? op.flops / rank_s * 1e-9 : 0, rank_s > 0 ? op.bytes / rank_s * 1e-9 : 0,
         100 * op.roof_share);
  }
  rest(report_.ops.size());
  line("  The roof is the highest rate of arithmetic and of memory that any operation of this trace reached.");
}

void Text::pipeline() {
  const PipelineReport& pipeline = report_.pipeline;
  if (pipeline.pp < 2 || pipeline.stages.empty()) return;
  title(fmt::format("pipeline: {} stages on {} ranks, {} microbatches{}", pipeline.pp * pipeline.vpp, pipeline.pp,
                    pipeline.microbatches,
                    pipeline.kind ? fmt::format(", schedule {}", text_of(*pipeline.kind)) : std::string()));
  line("  bubble     {:>9} {:>7}{}", seconds_text(pipeline.bubble_s), share(pipeline.bubble_s),
       pipeline.ideal_share ? fmt::format("   the schedule itself leaves {:.1f} % of the pipeline's time empty",
                                          100 * *pipeline.ideal_share)
                            : std::string());
  line("  {:<7} {:>9} {:>8} {:>16}", "stage", "pp rank", "layers", "per microbatch");
  double mean_s = 0;
  for (const StageReport& stage : pipeline.stages) mean_s += stage.s / static_cast<double>(pipeline.stages.size());
  for (const StageReport& stage : pipeline.stages)
    line("  {:<7} {:>9} {:>8} {:>16} {:>+6.0f} %{}", stage.stage, stage.pp, stage.layers, seconds_text(stage.s),
         100 * (stage.s / mean_s - 1), stage.s > 1.1 * mean_s ? "  longer than the mean: others wait" : "");
}

void Text::odd_steps() {
  if (report_.odd_steps.empty()) return;
  title("steps that stand out");
  for (size_t i = 0; i < report_.odd_steps.size() && i < top_; ++i) {
    const OddStep& odd = report_.odd_steps[i];
    line("  step {:<7} {:>9} longer: {}{}{}", odd.step, seconds_text(odd.late_s), kind_text(odd.cause),
         odd.rank >= 0 ? ", " + rank_text(report_, odd.rank) : "",
         odd.step == 1 ? " (the first step touches its memory for the first time)" : "");
  }
  rest(report_.odd_steps.size());
}

void Text::memory() {
  const MemoryReport *arena = nullptr, *resident = nullptr;
  for (const MemoryReport& one : report_.memory) {
    if (one.arena_bytes > (arena ? arena->arena_bytes : 0)) arena = &one;
    if (one.resident_bytes > (resident ? resident->resident_bytes : 0)) resident = &one;
  }
  if (!arena && !resident) return;
  title("memory (the most of any rank)");
  if (arena) line("  in use by the plan   {:>11}  rank {}", format_bytes(arena->arena_bytes), arena->rank);
  if (resident)
    line("  of the process       {:>11}  rank {}", format_bytes(resident->resident_bytes), resident->rank);
}

}  // namespace

std::string report_text(const Report& report, const std::string& name, int top) {
  return Text(report, static_cast<size_t>(top)).all(name);
}

}  // namespace trine
