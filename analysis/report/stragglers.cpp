#include <algorithm>
#include <bit>
#include <tuple>

#include "analysis/report/analyses.h"
#include "trace/classify.h"

namespace trine {
namespace {

constexpr double kLateShare = 0.04;  // of a step; less is noise

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>((values.size() - 1) / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

struct Work {
  double s = 0, amount = 0;
};

}  // namespace

std::string_view name(LateCause cause) {
  switch (cause) {
    case LateCause::kCompute:
      return "compute";
    case LateCause::kHost:
      return "host";
    case LateCause::kData:
      return "data";
    case LateCause::kDevice:
      return "device";
  }
  return "";
}

void StragglerAnalysis::add(const StepView& view) {
  if (view.ranks.size() < 2) return;
  // By operation and rank. Operations of like kind and size only: a head's product has another rate than a layer's.
  using Key = std::tuple<std::string_view, std::string_view, int64_t>;
  std::map<Key, std::vector<Work>> work;
  std::vector<double> host(view.ranks.size()), data(view.ranks.size());
  for (size_t r = 0; r < view.ranks.size(); ++r) {
    const RankView& rank = view.ranks[r];
    for (const CountedTime& time : rank.times) {
      const EventKind kind = kind_of(rank, time);
      if (is_wire(kind) || is_waiting(kind)) continue;
      const TraceEvent* event = time.event < 0 ? nullptr : &rank.step->events[static_cast<size_t>(time.event)];
      const NodeLabel* label = event ? view.trace->label(*rank.rank, *event) : nullptr;
      if (kind == EventKind::kData) {
        data[r] += seconds(time);
      } else if (!label) {
        host[r] += seconds(time);
      } else {
        std::vector<Work>& of =
            work[{label->op, label->phase, std::bit_cast<int64_t>(event->flops) ^ event->bytes}];
        of.resize(view.ranks.size());
        of[r].s += seconds(time);
      }
    }
    for (const TraceEvent& event : rank.step->events) {
      const NodeLabel* label = view.trace->label(*rank.rank, event);
      if (!label || is_wire(event.kind) || is_waiting(event.kind)) continue;
      const auto of = work.find({label->op, label->phase, std::bit_cast<int64_t>(event.flops) ^ event.bytes});
      if (of != work.end()) ++of->second[r].amount;
    }
  }
  // What a rank takes for its work, over what all ranks together take for the same amount of it: noise of single
  // operations cancels.
  std::vector<double> own(view.ranks.size()), usual(view.ranks.size()), ratios;
  for (const auto& [key, ranks] : work) {
    Work all;
    for (const Work& of : ranks) all.s += of.s, all.amount += of.amount;
    for (size_t r = 0; r < ranks.size() && all.amount > 0; ++r)
      own[r] += ranks[r].s, usual[r] += all.s / all.amount * ranks[r].amount;
  }
  for (size_t r = 0; r < own.size(); ++r)
    if (usual[r] > 0) ratios.push_back(own[r] / usual[r]);
  const double usual_ratio = median(ratios);
  std::vector<Late> late(view.ranks.size());
  for (size_t r = 0; r < own.size(); ++r) late[r].compute = own[r] - usual_ratio * usual[r];
  const double usual_host = median(host), usual_data = median(data);
  for (size_t r = 0; r < view.ranks.size(); ++r) {
    late[r].host = host[r] - usual_host, late[r].data = data[r] - usual_data;
    late_[view.ranks[r].rank->rank].push_back(late[r]);
  }
}

void StragglerAnalysis::finish(Report& report) const {
  for (const auto& [rank, steps] : late_) {
    Late sum;
    size_t num_late = 0;
    for (const Late& late : steps) sum.compute += late.compute, sum.host += late.host, sum.data += late.data;
    const double n = static_cast<double>(steps.size()), late_s = sum.sum() / n;
    if (late_s < kLateShare * report.mean.step_s) continue;
    for (const Late& late : steps) num_late += late.sum() > 0.3 * late_s;
    const LateCause cause = sum.data >= std::max(sum.host, sum.compute) ? LateCause::kData
                            : sum.host > sum.compute                    ? LateCause::kHost
                            : report.cpu                                ? LateCause::kCompute
                                                                        : LateCause::kDevice;
    report.stragglers.push_back({rank, late_s, cause, num_late * 3 >= steps.size() * 2});
  }
  std::ranges::stable_sort(report.stragglers, std::greater(), &Straggler::late_s);
}

}  // namespace trine
