// The parts of a report. Each sees one step after another (so that views need not be kept), then says its result.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "analysis/report/report.h"
#include "analysis/report/step_view.h"

namespace trine {

class LinkAnalysis {
 public:
  void add(const StepView& view);
  void finish(Report& report) const;

 private:
  std::map<std::pair<Axis, std::string>, LinkReport> links_;
  std::map<std::pair<Axis, int>, GroupReport> groups_;
  double rank_steps_ = 0, steps_ = 0;
};

class WaitAnalysis {
 public:
  void add(const StepView& view, const Report& report);
  void finish(Report& report) const;

 private:
  std::vector<std::vector<double>> seconds_;
  double steps_ = 0;
};

// Equal operations take the same time on all ranks. What a rank takes beyond the median rank makes it late, and so
// does more host time than the others'.
class StragglerAnalysis {
 public:
  void add(const StepView& view);
  void finish(Report& report) const;

 private:
  struct Late {
    double compute = 0, host = 0, data = 0;
    double sum() const { return compute + host + data; }
  };
  std::map<int, std::vector<Late>> late_;  // by rank, then step
};

class PathAnalysis {
 public:
  void add(const StepView& view);
  void finish(Report& report) const;

 private:
  std::map<std::tuple<EventKind, int, std::string>, double> parts_;
  double steps_ = 0;
};

class OpAnalysis {
 public:
  void add(const StepView& view);
  void finish(Report& report) const;

 private:
  std::map<std::string, OpReport> ops_;
  std::vector<int64_t> durations_ns_;  // of compute, some of them
  double rank_steps_ = 0, steps_ = 0, num_ = 0, best_flops_per_s_ = 0, best_bytes_per_s_ = 0;
};

class PipelineAnalysis {
 public:
  void add(const StepView& view, bool typical);
  void finish(Report& report) const;

 private:
  struct Stage {
    double s = 0, flops = 0;
  };
  std::map<std::pair<int, int>, Stage> stages_;  // by (pp, chunk)
  std::map<int, double> rank_steps_;             // by pp
  std::map<std::pair<int, int>, int> layers_;
  int vpp_ = 1, microbatches_ = 0;
  std::vector<std::vector<ActionSpan>> ran_;
};

// REQUIRES: the report has its steps.
std::vector<OddStep> odd_steps(const Report& report);
std::vector<MemoryReport> memory_of(const Trace& trace);
// REQUIRES: all else is in the report.
std::vector<Finding> findings_of(const Report& report);

}  // namespace trine
