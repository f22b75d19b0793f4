// Diseases made on purpose: the report names each, where it is, and how much it costs.
#include "analysis/report/report.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>
#include <numeric>

#include "analysis/report/diff.h"
#include "analysis/report/report_json.h"
#include "analysis/report/report_text.h"
#include "tests/analysis/made_trace.h"
#include "tests/trace/sample_trace.h"

namespace trine {
namespace {

using ::testing::HasSubstr;
using testing::MadeTrace;
using ::testing::Optional;

std::function<double(int, int)> of_rank(int rank, double value, double others, int only_step = 0) {
  return [=](int r, int step) { return r == rank && (only_step == 0 || step == only_step) ? value : others; };
}

// A made step: 16 microbatches, forward 4 ms and backward 8 ms of a stage.
constexpr double kWork_s = 16 * 12e-3;

TEST(Report, EveryRanksCategoriesSumToItsStep) {
  for (const Trace& trace : {MadeTrace{.slow = of_rank(3, 1.2, 1)}.trace(), testing::sample_trace()}) {
    const Report report = analyse(trace);
    ASSERT_EQ(report.steps.size(), trace.ranks[0].steps.size());
    for (const StepReport& step : report.steps) {
      ASSERT_EQ(step.ranks.size(), trace.ranks.size());
      for (const auto& [rank, time] : step.ranks) {
        const StepTrace& of = trace.ranks[static_cast<size_t>(rank)].steps[static_cast<size_t>(step.step - 1)];
        EXPECT_NEAR(std::accumulate(time.seconds.begin(), time.seconds.end(), 0.0),
                    static_cast<double>(of.end_ns - of.begin_ns) * 1e-9, 1e-9);
      }
    }
    // Links are the categories of communication, seen from the other side.
    for (const Axis axis : kAxes) {
      double exposed = 0;
      for (const LinkReport& link : report.links)
        if (link.axis == axis) exposed += link.exposed_s;
      EXPECT_NEAR(exposed, report.mean[kCommKinds[static_cast<size_t>(axis)]], 1e-9) << name(axis);
    }
  }
}

TEST(Report, AHealthyRunStallsNowhere) {
  const Report report = analyse(MadeTrace{.mesh = {.pp = 1, .dp = 2, .tp = 2}, .layers = {4}}.trace());
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_THAT(report.findings[0].text, HasSubstr("Nothing stalls"));
  EXPECT_TRUE(report.stragglers.empty());
  EXPECT_TRUE(report.odd_steps.empty());
}

TEST(Report, ASlowRankIsNamedWithItsCost) {
  const Report report = analyse(MadeTrace{.slow = of_rank(5, 1.25, 1)}.trace());
  ASSERT_EQ(report.stragglers.size(), 1u);
  EXPECT_EQ(report.stragglers[0].rank, 5);
  EXPECT_EQ(report.stragglers[0].cause, LateCause::kCompute);
  EXPECT_TRUE(report.stragglers[0].steady);
  EXPECT_NEAR(report.stragglers[0].late_s, 0.25 * kWork_s, 0.02 * kWork_s);
  const Finding& first = report.findings[0];
  EXPECT_EQ(first.rank, 5);
  EXPECT_EQ(first.stage, 1);
  EXPECT_EQ(first.kind, "kernels");
  EXPECT_THAT(first.text, HasSubstr("Rank 5 (pp 1, dp 0, tp 1, host host1) computes"));
  // Its tp peer waits for it and for nobody else; what it waits is what it is faster.
  EXPECT_NEAR(report.waits[4][5], 0.25 * kWork_s, 0.03 * kWork_s);
  EXPECT_EQ(report.waits[5][4], 0);
  // The step's path runs through it.
  double on_stage_1 = 0;
  for (const PathPart& part : report.critical_path)
    if (part.kind == EventKind::kCompute && part.stage == 1) on_stage_1 += part.s;
  EXPECT_GT(on_stage_1, 0.8 * 1.25 * kWork_s);
}

TEST(Report, BurstsAreNoSteadyStraggler) {
  const Report report =
      analyse(MadeTrace{.steps = 8, .host_s = of_rank(2, 0.4, 0, 4)}.trace());  // SIGSTOP for 0.4 s
  ASSERT_FALSE(report.stragglers.empty());
  EXPECT_EQ(report.stragglers[0].rank, 2);
  EXPECT_EQ(report.stragglers[0].cause, LateCause::kHost);
  EXPECT_FALSE(report.stragglers[0].steady);
  EXPECT_NEAR(report.stragglers[0].late_s, 0.4 / 8, 1e-3);
  EXPECT_EQ(report.findings[0].rank, 2);
  EXPECT_EQ(report.findings[0].kind, "host");
  ASSERT_EQ(report.odd_steps.size(), 1u);
  EXPECT_EQ(report.odd_steps[0].step, 4);
  EXPECT_EQ(report.odd_steps[0].rank, 2);
  EXPECT_EQ(report.odd_steps[0].cause, EventKind::kHost);
  EXPECT_NEAR(report.odd_steps[0].late_s, 0.4, 0.02);
}

TEST(Report, SlowDataOfOneRankOrOfAll) {
  const Report one = analyse(MadeTrace{.data_s = of_rank(6, 0.05, 0)}.trace());
  EXPECT_EQ(one.findings[0].rank, 6);
  EXPECT_EQ(one.findings[0].kind, "data");
  EXPECT_NEAR(one.findings[0].s, 0.05, 1e-3);
  const Report all = analyse(MadeTrace{.data_s = of_rank(-1, 0, 0.05)}.trace());
  EXPECT_EQ(all.findings[0].kind, "data");
  EXPECT_EQ(all.findings[0].rank, std::nullopt);
  EXPECT_NEAR(all.findings[0].s, 0.05, 1e-3);
  EXPECT_TRUE(all.stragglers.empty());
}

TEST(Report, ASlowLinkOfOneGroupIsToldFromASlowAxis) {
  // tp pair (2, 3) takes 20 times as long: 32 collectives of 40 us.
  const Report one = analyse(MadeTrace{.slow_link = of_rank(2, 20, 1)}.trace());
  EXPECT_EQ(one.findings[0].axis, Axis::kTp);
  EXPECT_EQ(one.findings[0].stage, 0);
  EXPECT_THAT(one.findings[0].text, HasSubstr("ranks 2, 3"));
  EXPECT_NEAR(one.findings[0].s, 32 * 19 * 40e-6, 1e-3);
  const Report all = analyse(MadeTrace{.tp_us = 2000}.trace());
  EXPECT_EQ(all.findings[0].axis, Axis::kTp);
  EXPECT_EQ(all.findings[0].stage, std::nullopt);
  EXPECT_EQ(all.findings[0].kind, "tp");
  EXPECT_NEAR(all.findings[0].s, 32 * 2e-3, 1e-3);
  EXPECT_EQ(analyse(MadeTrace{.dp_us = 90'000}.trace()).findings[0].axis, Axis::kDp);
  const Report pp = analyse(MadeTrace{.microbatches = 64, .pp_us = 5000}.trace());
  EXPECT_EQ(pp.findings[0].axis, Axis::kPp);
}

TEST(Report, AnUnevenStageIsNamed) {
  const Report report =
      analyse(MadeTrace{.mesh = {.pp = 4, .dp = 1, .tp = 1}, .microbatches = 32, .layers = {4, 4, 6, 4}}.trace());
  EXPECT_EQ(report.findings[0].stage, 2);
  EXPECT_EQ(report.findings[0].axis, Axis::kPp);
  EXPECT_EQ(report.findings[0].rank, std::nullopt);
  EXPECT_THAT(report.findings[0].text, HasSubstr("it has 6 layers, the others 4"));
  // 32 microbatches: 1.5 times the others' 12 ms, beyond the mean of all.
  EXPECT_NEAR(report.pipeline.uneven_s, 32 * (18e-3 - 13.5e-3), 2e-3);
  EXPECT_TRUE(report.stragglers.empty());
}

TEST(Report, TooFewMicrobatchesAreTheBubble) {
  const Report report =
      analyse(MadeTrace{.mesh = {.pp = 4, .dp = 1, .tp = 1}, .microbatches = 4, .layers = {4, 4, 4, 4}}.trace());
  EXPECT_EQ(report.findings[0].kind, "bubble");
  EXPECT_EQ(report.findings[0].stage, std::nullopt);
  EXPECT_EQ(report.pipeline.kind, PipelineKind::k1F1B);
  // Narayanan et al. 2021: (p - 1) / (m + p - 1).
  EXPECT_THAT(report.pipeline.ideal_share, Optional(::testing::DoubleNear(3.0 / 7, 1e-12)));
  EXPECT_NEAR(report.pipeline.bubble_share, 3.0 / 7, 0.03);
}

TEST(Report, TinyMicrobatchesAreNamed) {
  const Report report = analyse(MadeTrace{.mesh = {.pp = 1, .dp = 1, .tp = 2},
                                          .microbatches = 64,
                                          .layers = {4},
                                          .op_us = 4,
                                          .tp_us = 15,
                                          .start_us = 6,
                                          .message_bytes = 2048}
                                    .trace());
  EXPECT_THAT(report.findings[0].text, HasSubstr("--micro-batch"));
  EXPECT_EQ(report.findings[0].kind, "idle");
}

TEST(Report, LinksInTheirUnits) {
  const MadeTrace made{.mesh = {.pp = 1, .dp = 1, .tp = 2}, .steps = 3, .layers = {4}, .tp_us = 100};
  const Report report = analyse(made.trace());
  ASSERT_EQ(report.links.size(), 1u);
  const LinkReport& link = report.links[0];
  EXPECT_EQ(link.op, "all_reduce");
  EXPECT_EQ(link.count, 2 * 32);                   // both ranks, 32 actions
  EXPECT_EQ(link.bytes, 2.0 * 32 * (1 << 20));     // of all ranks
  EXPECT_NEAR(link.exposed_s, 32 * 100e-6, 1e-9);  // of one
  EXPECT_NEAR(link.gb_per_s, (1 << 20) / 100e-6 * 1e-9, 1e-6);
}

TEST(Report, JsonHasWhatOthersRead) {
  const Report report = analyse(MadeTrace{.slow = of_rank(5, 1.25, 1)}.trace());
  const auto json = report_json(report);
  ASSERT_EQ(json["steps"].size(), 5u);
  for (const char* key : {"step", "step_s", "mean", "ranks"}) EXPECT_TRUE(json["steps"][0].contains(key)) << key;
  for (const char* key : {"rank", "pp", "dp", "tp", "host", "step_s", "compute_s", "idle_s"})
    EXPECT_TRUE(json["steps"][0]["ranks"][0].contains(key)) << key;
  for (const char* key : {"axis", "op", "count", "bytes", "exposed_s", "hidden_s", "wait_s", "gb_per_s"})
    EXPECT_TRUE(json["links"][0].contains(key)) << key;
  for (const char* key : {"rank", "late_s", "cause", "steady"})
    EXPECT_TRUE(json["stragglers"][0].contains(key)) << key;
  for (const char* key : {"text", "kind", "rank", "stage", "axis", "s"})
    EXPECT_TRUE(json["findings"][0].contains(key)) << key;
  EXPECT_EQ(json["findings"][0]["axis"], nullptr);
  EXPECT_EQ(json["stragglers"][0]["cause"], "compute");
  double path_s = 0;
  for (const auto& part : json["critical_path"]) path_s += double(part["s"]);
  EXPECT_NEAR(path_s, json["step_s"], 1e-9);
  // Numbers in sentences are those of the fields.
  EXPECT_THAT(std::string(json["findings"][0]["text"]), HasSubstr("5"));
}

TEST(Report, TextAnswersInItsFirstThreeLines) {
  const std::string text = report_text(analyse(MadeTrace{.slow = of_rank(5, 1.25, 1)}.trace()), "runs/x", 3);
  EXPECT_TRUE(text.starts_with("A step takes ")) << text;
  EXPECT_THAT(text, HasSubstr("\n1. Rank 5 (pp 1, dp 0, tp 1, host host1) computes "));
  EXPECT_THAT(text, HasSubstr("runs/x: 5 steps (1 to 5), 8 ranks (pp 2, dp 2, tp 2) on 2 hosts"));
  EXPECT_THAT(text, HasSubstr("(--top)"));
}

TEST(Report, OfSomeRanksAndStepsOnly) {
  Trace trace = MadeTrace{.slow = of_rank(5, 1.25, 1)}.trace();
  std::erase_if(trace.ranks, [](const RankTrace& rank) { return rank.rank != 4 && rank.rank != 7; });
  const Report report = analyse(trace);
  EXPECT_EQ(report.ranks, (std::vector{4, 7}));
  for (const auto& row : report.waits)
    for (const double s : row) EXPECT_GE(s, 0);
  EXPECT_NEAR(report.mean.step_s, analyse(MadeTrace{.slow = of_rank(5, 1.25, 1)}.trace()).mean.step_s, 1e-9);
}

TEST(ReportDiff, BiggestFirstAndWhatTheStepFelt) {
  const Report before = analyse(MadeTrace{}.trace()),
               after = analyse(MadeTrace{.slow = of_rank(5, 1.25, 1)}.trace());
  const ReportDiff changes = diff(before, after);
  EXPECT_EQ(changes.before_s, before.mean.step_s);
  ASSERT_FALSE(changes.ranks.empty());
  EXPECT_EQ(changes.ranks[0].what, "rank 5");
  EXPECT_NEAR(changes.ranks[0].change_s(), 0.25 * kWork_s, 0.02 * kWork_s);
  const auto compute = std::ranges::find(changes.categories, "compute", &Difference::what);
  ASSERT_NE(compute, changes.categories.end());
  // An eighth of the ranks is slower; the step is longer by all of it.
  EXPECT_NEAR(compute->change_s(), 0.25 * kWork_s / 8, 0.02 * kWork_s);
  EXPECT_NEAR(*compute->felt_s, 0.25 * kWork_s, 0.05 * kWork_s);
  const ReportDiff none = diff(before, before);
  EXPECT_TRUE(none.categories.empty() && none.links.empty() && none.ops.empty() && none.ranks.empty());
  EXPECT_THAT(diff_text(none, "a", "a", 5), HasSubstr("No category changed."));
}

}  // namespace
}  // namespace trine
