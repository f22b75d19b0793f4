// Where the time of a run went: what a person reads at its end.
#pragma once

#include <string>

#include "trace/accounting.h"

namespace trine {

class TimeSummary {
 public:
  // Of each step, in order. The first one is left out where others follow: it touches memory for the first time.
  void add(const StepBreakdown& step);

  // The mean step by category, largest first, with what communication hid behind other work. Empty without steps.
  //   where the time of a step went (mean of 59 steps)
  //     compute           0.312 s  61.2 %  ############
  //     tp, exposed       0.061 s  12.0 %  ##            0.020 s more was hidden
  std::string text() const;

 private:
  StepBreakdown first_, sum_;
  int64_t num_steps_ = 0;
};

}  // namespace trine
