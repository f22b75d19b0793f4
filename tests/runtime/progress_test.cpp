#include "runtime/training/progress.h"

#include <gtest/gtest.h>

#include "tests/data/scratch.h"

namespace trine {
namespace {

StepMetrics step_of(int64_t step, double seconds) {
  StepMetrics m{.step = step,
                .loss = 3.2141,
                .grad_norm = 0.8449,
                .lr = 2.9e-4,
                .tokens_per_s = 17790,
                .memory_peak_bytes = 22'870'700'000};
  m.time.seconds[static_cast<size_t>(EventKind::kCompute)] = seconds;
  m.time.step_s = seconds;
  return m;
}

TEST(Progress, TheLineOfTheStyleGuide) {
  StepMetrics m = step_of(120, 1.842);
  m.mfu = 0.412;
  m.time.seconds[static_cast<size_t>(EventKind::kCommTp)] = 0.14 * 1.842;
  m.time.seconds[static_cast<size_t>(EventKind::kCommPp)] = 0.03 * 1.842;
  m.time.seconds[static_cast<size_t>(EventKind::kCommDp)] = 0.05 * 1.842;
  m.time.seconds[static_cast<size_t>(EventKind::kBubble)] = 0.09 * 1.842;
  const ProgressSettings settings{
      .last_step = 1000, .num_ranks = 16, .memory_limit_bytes = int64_t{25'232'932'864}};
  EXPECT_EQ(progress_line(m, settings, 1621),
            "step 120/1000 | loss 3.214 | gnorm 0.84 | lr 2.9e-4 | 1.842 s | 17.8k tok/s | MFU 41.2% | "
            "comm 22% (tp 14 pp 3 dp 5) bubble 9% | mem 21.3/23.5 GiB | eta 27m");
}

TEST(Progress, OneRankUnknownPeakAndSkippedSteps) {
  StepMetrics m = step_of(5, 0.2);
  m.memory_peak_bytes = 300 << 20;
  m.lr = 1.25e-12;
  m.tokens_per_s = 2.5e6;
  EXPECT_EQ(progress_line(m, {.last_step = 9}, 59.4),
            "step 5/9 | loss 3.214 | gnorm 0.84 | lr 1.2e-12 | 0.200 s | 2.5M tok/s | mem 300 MiB | eta 59s");
  m.grad_norm.reset();
  m.skipped = true;
  m.lr = 0;
  m.tokens_per_s = 12;
  EXPECT_EQ(progress_line(m, {.last_step = 9}, 3780),
            "step 5/9 | loss 3.214 | skipped | lr 0.0e0 | 0.200 s | 12 tok/s | mem 300 MiB | eta 1h 03m");
  EXPECT_NE(progress_line(m, {.last_step = 9}, 3599).find("eta 1h 00m"), std::string::npos);
}

TEST(Progress, PrintsFirstLastAndEveryInterval) {
  const testing::ScratchFolder folder;
  std::FILE* out = std::fopen((folder / "out").c_str(), "w");
  {
    Log log(0, false, out, out);
    Progress progress(log, {.first_step = 3, .last_step = 25, .log_interval = 10});
    for (int64_t step = 3; step <= 25; ++step) progress.step(step_of(step, step == 3 ? 100 : 2));
    progress.finish();
  }
  std::fclose(out);
  std::istringstream text(testing::read_file(folder / "out"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_TRUE(lines[0].starts_with("step 3/25 "));
  EXPECT_TRUE(lines[1].starts_with("step 10/25 "));
  EXPECT_TRUE(lines[1].ends_with("eta 30s")) << lines[1];  // the slow first step is forgotten
  EXPECT_TRUE(lines[2].starts_with("step 20/25 "));
  EXPECT_TRUE(lines[3].starts_with("step 25/25 "));
  EXPECT_TRUE(lines[3].ends_with("eta 0s")) << lines[3];
}

}  // namespace
}  // namespace trine
