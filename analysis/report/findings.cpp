#include <algorithm>
#include <array>
#include <cctype>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "analysis/report/analyses.h"
#include "analysis/report/wording.h"

namespace trine {
namespace {

constexpr double kWorthSaying = 0.03;  // of a step
constexpr double kTinyOp_s = 50e-6, kSmallMessage_bytes = 64 * 1024;

// Each function appends what it found; what a cause explains is not said again as its symptom.
class Findings {
 public:
  explicit Findings(const Report& report) : report_(report), step_s_(report.mean.step_s) {}

  std::vector<Finding> all() {
    stragglers();
    slow_groups();
    uneven_stages();
    tiny_operations();
    axes();
    bubble();
    waiting();
    own_categories();
    steps();
    std::ranges::stable_sort(found_, std::greater(), &Finding::s);
    if (found_.empty()) nothing_stalls();
    return std::move(found_);
  }

 private:
  bool worth(double s) const { return s >= kWorthSaying * step_s_ && s > 0; }
  std::string of_step(double s) const {
    return fmt::format("{} ({} of the step)", seconds_text(s), percent_text(s, step_s_));
  }
  double mean(EventKind kind) const { return report_.mean[kind]; }
  int pp_of(int rank) const { return report_.mesh.coordinate(rank).pp; }

  void stragglers();
  void slow_groups();
  void uneven_stages();
  void tiny_operations();
  void axes();
  void bubble();
  void waiting();
  void own_categories();
  void steps();
  void nothing_stalls();

  const Report& report_;
  const double step_s_;
  std::vector<Finding> found_;
  double late_s_ = 0;                                // of ranks and stages: what others wait for
  std::array<double, kAxes.size()> said_of_axis_{};  // seconds that another finding explains
  bool idle_said_ = false;
};

void Findings::stragglers() {
  for (const Straggler& late : report_.stragglers) {
    if (found_.size() == 3) break;  // more are in their table
    double waited = 0;
    const size_t column = report_.index(late.rank);
    for (const auto& row : report_.waits) waited = std::max(waited, row[column]);
    const bool data = late.cause == LateCause::kData, host = late.cause == LateCause::kHost;
    const char* what = data ? "reads its data" : host ? "spends on its host, or stopped," : "computes";
    const char* advice = data   ? "Look at where its data lies: a slow disk or network file system."
                         : host ? "Look for other processes on its host, and at how many ranks share its cores."
                         : late.steady ? "Its hardware is slower or shared: look at clocks, temperature and other "
                                         "processes there, or leave that host out."
                                       : "It comes and goes: look for other processes there, and for a device that "
                                         "is throttled at times.";
    found_.push_back(
        {fmt::format("R{} {} {} longer per step than its peers for the same work, {}; one of them waits "
                     "{} for it. {}",
                     rank_text(report_, late.rank).substr(1), what, of_step(late.late_s),
                     late.steady ? "steadily" : "in bursts", seconds_text(waited), advice),
         data   ? "data"
         : host ? "host"
                : "kernels",
         late.rank, pp_of(late.rank), std::nullopt, late.late_s});
    late_s_ = std::max(late_s_, late.late_s);
  }
}

// A communicator that is slower than others of its axis.
void Findings::slow_groups() {
  for (const Axis axis : kAxes) {
    std::vector<double> rates;
    for (const GroupReport& group : report_.groups)
      if (group.axis == axis && group.wire_s > 0 && group.bytes > 0) rates.push_back(group.gb_per_s());
    if (rates.size() < 2) continue;
    std::ranges::sort(rates);
    const double usual = rates[rates.size() / 2];
    for (const GroupReport& group : report_.groups) {
      if (group.axis != axis || group.wire_s <= 0 || group.bytes <= 0 || group.gb_per_s() > 0.5 * usual) continue;
      const double extra_s = (group.wire_s - group.bytes / (usual * 1e9)) /
                             static_cast<double>(group.ranks.size() * report_.steps.size());
      if (!worth(extra_s)) continue;
      std::optional<int> stage = pp_of(group.ranks[0]);
      for (const int rank : group.ranks)
        if (pp_of(rank) != *stage) stage.reset();
      found_.push_back(
          {fmt::format(
               "The {} link between ranks {} reaches {:.3g} GB/s where others of that axis reach {:.3g}: {} "
               "per step. Look at cable, slot, switch and NIC of these ranks ({}).",
               name(axis), fmt::join(group.ranks, ", "), group.gb_per_s(), usual, of_step(extra_s),
               rank_text(report_, group.ranks[0])),
           std::string(name(axis)), std::nullopt, stage, axis, extra_s});
      said_of_axis_[static_cast<size_t>(axis)] +=
          extra_s * static_cast<double>(group.ranks.size()) / static_cast<double>(report_.ranks.size());
      late_s_ = std::max(late_s_, extra_s);
    }
  }
}

void Findings::uneven_stages() {
  const PipelineReport& pipeline = report_.pipeline;
  if (pipeline.stages.size() < 2 || !worth(pipeline.uneven_s)) return;
  if (late_s_ > 0.5 * pipeline.uneven_s) return;  // a late rank makes its stage slow
  const StageReport& slowest = *std::ranges::max_element(pipeline.stages, {}, &StageReport::s);
  double others_s = 0, layers = 0;
  for (const StageReport& stage : pipeline.stages)
    if (stage.stage != slowest.stage) others_s += stage.s, layers += stage.layers;
  const double n = static_cast<double>(pipeline.stages.size() - 1);
  others_s /= n, layers /= n;
  std::string why =
      slowest.layers > layers * 1.01 ? fmt::format("it has {} layers, the others {:.3g}", slowest.layers, layers)
      : slowest.stage + 1 == static_cast<int>(pipeline.stages.size()) ? "it also holds the head and the loss"
                                                                      : "with as many layers";
  found_.push_back(
      {fmt::format("Stage {} (pipeline rank {}) computes {} per microbatch, the others {} in the mean: "
                   "{}. That costs {} per step. Give it fewer layers, "
                   "or use --vpp so that stages are smaller.",
                   slowest.stage, slowest.pp, seconds_text(slowest.s), seconds_text(others_s), why,
                   of_step(pipeline.uneven_s)),
       "bubble", std::nullopt, slowest.stage, Axis::kPp, pipeline.uneven_s});
  late_s_ = std::max(late_s_, pipeline.uneven_s);
}

// Much smaller than what it costs to start an operation or to send a message, and could be larger.
void Findings::tiny_operations() {
  const int microbatches = report_.pipeline.microbatches;
  if (report_.median_op_s <= 0 || report_.median_op_s > kTinyOp_s) return;
  if (microbatches <= (report_.mesh.pp > 1 ? 4 * report_.mesh.pp : 1)) return;
  double s = mean(EventKind::kIdle) + mean(EventKind::kHost);
  std::array<double, kAxes.size()> of_axis{};
  for (const LinkReport& link : report_.links)
    if (link.count > 0 && link.bytes / link.count < kSmallMessage_bytes)
      of_axis[static_cast<size_t>(link.axis)] += link.exposed_s, s += link.exposed_s;
  if (s < 0.25 * step_s_) return;
  for (size_t axis = 0; axis < of_axis.size(); ++axis) said_of_axis_[axis] += of_axis[axis];
  found_.push_back({fmt::format("Microbatches are tiny: half of the {:.0f} operations of a rank take less than {}, "
                                "and starting them and sending small messages costs {}. Raise --micro-batch: {} "
                                "microbatches leave room.",
                                report_.num_ops, seconds_text(report_.median_op_s), of_step(s), microbatches),
                    "idle", std::nullopt, std::nullopt, std::nullopt, s});
  idle_said_ = true;
}

void Findings::axes() {
  constexpr std::array<EventKind, kAxes.size()> kKinds = kCommKinds;
  for (const Axis axis : kAxes) {
    const double s = mean(kKinds[static_cast<size_t>(axis)]) - said_of_axis_[static_cast<size_t>(axis)];
    if (!worth(s)) continue;
    const LinkReport* most = nullptr;
    for (const LinkReport& link : report_.links)
      if (link.axis == axis && (!most || link.exposed_s > most->exposed_s)) most = &link;
    const double hidden = report_.mean.hidden(axis);
    const char* advice = axis == Axis::kTp   ? "A smaller --tp or a faster link between its ranks shortens it."
                         : axis == Axis::kPp ? "Fewer stages, or messages of more work (--micro-batch), shorten it."
                                             : "More microbatches per step, or a faster network, hide more of it.";
    found_.push_back(
        {fmt::format("Exposed {} communication takes {}; {} more hides behind compute. Most is {}: {} at "
                     "{:.3g} GB/s per rank. {}",
                     name(axis), of_step(s), seconds_text(hidden), most ? most->op : "",
                     seconds_text(most ? most->exposed_s : 0), most ? most->gb_per_s : 0, advice),
         std::string(name(axis)), std::nullopt, std::nullopt, axis, s});
  }
}

void Findings::bubble() {
  const PipelineReport& pipeline = report_.pipeline;
  const double rest_s = pipeline.bubble_s - late_s_;
  const double ideal_s =
      pipeline.ideal_share ? std::min(*pipeline.ideal_share * step_s_, pipeline.bubble_s) : pipeline.bubble_s;
  if (worth(ideal_s)) {
    found_.push_back(
        {fmt::format("The pipeline's bubble is {}{}. {} microbatches for {} stages: more of them (a larger "
                     "--global-batch, a smaller --micro-batch), --vpp or --schedule zero-bubble shrink it.",
                     of_step(pipeline.bubble_s),
                     pipeline.ideal_share
                         ? fmt::format("; the schedule {} itself leaves {:.1f} % of the pipeline's time empty",
                                       text_of(*pipeline.kind), 100 * *pipeline.ideal_share)
                         : std::string(),
                     pipeline.microbatches, pipeline.pp * pipeline.vpp),
         "bubble", std::nullopt, std::nullopt, Axis::kPp, ideal_s});
  }
  const double beyond_s = rest_s - ideal_s;
  if (pipeline.ideal_share && worth(beyond_s))
    found_.push_back({fmt::format("The bubble is {} longer than the schedule's own: messages come late (exposed pp "
                                  "communication, tp within the stages), or ranks share cores.",
                                  seconds_text(beyond_s)),
                      "bubble", std::nullopt, std::nullopt, Axis::kPp, beyond_s});
}

void Findings::waiting() {
  const double s = mean(EventKind::kWait) - late_s_;
  if (!worth(s)) return;
  std::vector<double> for_rank(report_.ranks.size());
  for (const auto& row : report_.waits)
    for (size_t r = 0; r < row.size(); ++r) for_rank[r] += row[r];
  const auto most = std::ranges::max_element(for_rank);
  double sum = 0;
  for (const double one : for_rank) sum += one;
  const int rank = report_.ranks.at(static_cast<size_t>(most - for_rank.begin()));
  std::optional<int> alone;
  if (*most > 0.5 * sum && report_.ranks.size() > 2) alone = rank;
  found_.push_back({fmt::format("Ranks wait {} for each other, most of it for {} ({} of all waiting). No rank is "
                                "steadily slower than this: unequal noise, or more ranks than cores.",
                                of_step(s), rank_text(report_, rank), percent_text(*most, sum)),
                    "wait", alone, alone ? std::optional(pp_of(*alone)) : std::nullopt, std::nullopt, s});
}

void Findings::own_categories() {
  const auto say = [&](EventKind kind, double from, const char* advice) {
    const double s = mean(kind);
    if (!worth(s) || s < from * step_s_) return;
    for (const Finding& other : found_)
      if (other.rank && other.kind == path_name(kind) && other.s >= s) return;
    std::string text = fmt::format("{} takes {}. {}", kind_text(kind), of_step(s), advice);
    text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
    found_.push_back({text, std::string(path_name(kind)), std::nullopt, std::nullopt, std::nullopt, s});
  };
  say(EventKind::kData, 0.03,
      "Samples come too slowly on all ranks: put the data on a faster disk, or prepare it "
      "with prepare_data.");
  say(EventKind::kCheckpoint, 0.03, "Save less often (--save-interval).");
  say(EventKind::kRecompute, 0.10, "With more memory, --recompute selective or none would save it.");
  say(EventKind::kOptimizer, 0.15,
      "A larger batch per step, or --zero with more dp ranks, makes it a smaller share.");
  if (idle_said_) return;
  say(EventKind::kHost, 0.03,
      "Nothing else runs meanwhile: logging, metrics, writing this trace, or a slow file system.");
  say(EventKind::kIdle, 0.05,
      "No lane works: the host is late to start work, or more ranks than cores "
      "share this machine.");
}

void Findings::steps() {
  for (const OddStep& odd : report_.odd_steps) {
    const double s = odd.late_s / static_cast<double>(report_.steps.size());
    if (!worth(s)) continue;
    found_.push_back(
        {fmt::format("Step {} took {} longer than the typical one: {}{}.", odd.step, seconds_text(odd.late_s),
                     kind_text(odd.cause), odd.rank >= 0 ? " on " + rank_text(report_, odd.rank) : ""),
         std::string(path_name(odd.cause)), odd.rank >= 0 ? std::optional(odd.rank) : std::nullopt,
         odd.rank >= 0 ? std::optional(pp_of(odd.rank)) : std::nullopt, std::nullopt, s});
    return;  // the others are in their table
  }
}

void Findings::nothing_stalls() {
  const double s = mean(EventKind::kCompute);
  std::string most = report_.ops.empty() ? "" : fmt::format("; {} is the longest operation", report_.ops[0].op);
  found_.push_back({fmt::format("Nothing stalls: compute is {}{}. Only faster kernels or less work shorten it.",
                                of_step(s), most),
                    "kernels", std::nullopt, std::nullopt, std::nullopt, s});
}

}  // namespace

std::vector<Finding> findings_of(const Report& report) { return Findings(report).all(); }

}  // namespace trine
