#include "trace/time_summary.h"

#include <gmock/gmock.h>

namespace trine {
namespace {

using testing::HasSubstr;

StepBreakdown step(double compute, double tp, double hidden_tp) {
  StepBreakdown s;
  s.seconds[static_cast<size_t>(EventKind::kCompute)] = compute;
  s.seconds[static_cast<size_t>(EventKind::kCommTp)] = tp;
  s.hidden_comm_s[static_cast<size_t>(Axis::kTp)] = hidden_tp;
  s.step_s = compute + tp;
  return s;
}

TEST(TimeSummary, MeanOfTheStepsAfterTheFirst) {
  TimeSummary summary;
  EXPECT_EQ(summary.text(), "");
  summary.add(step(100, 100, 100));
  summary.add(step(3, 1, 0.5));
  summary.add(step(3, 1, 1.5));
  const std::string text = summary.text();
  EXPECT_THAT(text, HasSubstr("mean of 2 steps after the first"));
  EXPECT_THAT(text, HasSubstr("compute            3.0000 s  75.0 %  ###############"));
  EXPECT_THAT(text,
              HasSubstr("tp, exposed        1.0000 s  25.0 %  #####                 1.0000 s more was hidden"));
  EXPECT_LT(text.find("compute"), text.find("tp, exposed")) << "largest first";
  EXPECT_EQ(text.find("bubble"), std::string::npos) << "what took no time is left out";
}

TEST(TimeSummary, OneStepIsAllThereIs) {
  TimeSummary summary;
  summary.add(step(1, 0, 0));
  EXPECT_THAT(summary.text(), HasSubstr("mean of 1 step)"));
}

}  // namespace
}  // namespace trine
