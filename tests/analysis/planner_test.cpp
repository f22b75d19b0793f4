#include "analysis/planner/planner.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "analysis/planner/estimate.h"
#include "analysis/planner/layout_hint.h"
#include "analysis/planner/planner_report.h"
#include "plan/config/flags.h"
#include "plan/plan.h"
#include "tests/cluster/cpu_profiles.h"

namespace trine {
namespace {

PlanQuestion question(const std::string& cluster, int devices, const std::vector<std::string>& flags) {
  std::vector<std::string> words = {"train_llama", "--dry-run", "--ranks",   "1",
                                    "--device",    "cuda",      "--cluster", cluster};
  words.insert(words.end(), flags.begin(), flags.end());
  std::vector<const char*> argv;
  for (const std::string& word : words) argv.push_back(word.c_str());
  return {.base = std::get<Config>(parse_train_flags(static_cast<int>(argv.size()), argv.data(), {}, "")),
          .devices = devices,
          .profile = load_profile(cluster),
          .fixed = {}};
}

PlanQuestion small(const std::string& cluster, int devices = 4) {
  return question(cluster, devices,
                  {"--model", "llama2-7b", "--layers", "4", "--global-batch", "16", "--seq", "2048"});
}

std::vector<Layout> some_layouts() {
  using K = ScheduleKind;
  return {{.tp = 2, .pp = 4, .dp = 2, .vpp = 1, .micro_batch = 1, .schedule = K::k1F1B, .recompute = {}, .zero = 1},
          {.tp = 1,
           .pp = 4,
           .dp = 4,
           .vpp = 2,
           .micro_batch = 1,
           .schedule = K::kInterleaved,
           .recompute = {Recompute::Kind::kFull},
           .zero = 0},
          {.tp = 4,
           .pp = 4,
           .dp = 1,
           .vpp = 1,
           .micro_batch = 2,
           .schedule = K::kZeroBubble,
           .recompute = {Recompute::Kind::kSelective},
           .zero = 0},
          {.tp = 8, .pp = 1, .dp = 2, .vpp = 1, .micro_batch = 2, .schedule = K::k1F1B, .recompute = {}, .zero = 1},
          {.tp = 2,
           .pp = 8,
           .dp = 1,
           .vpp = 1,
           .micro_batch = 1,
           .schedule = K::k1F1B,
           .recompute = {Recompute::Kind::kFull},
           .zero = 0}};
}

PlanQuestion sixteen(const std::string& cluster) {
  return question(cluster, 16, {"--model", "llama2-7b", "--layers", "13", "--global-batch", "32", "--seq", "2048"});
}

// Ranks that share a graph change neither the step nor a byte of any rank.
TEST(PlanToCompare, IsThePlanThatRuns) {
  const PlanQuestion q = sixteen("rtx4090");
  for (const Layout& layout : some_layouts()) {
    const Config config = config_of(q, layout);
    const Plan quick = build_plan_to_compare(config), whole = build_plan(config);
    ASSERT_EQ(quick.stages.size(), whole.stages.size());
    for (size_t i = 0; i < quick.stages.size(); ++i) {
      EXPECT_EQ(quick.stages[i].memory.total_bytes(), whole.stages[i].memory.total_bytes()) << to_string(layout);
      EXPECT_EQ(quick.stages[i].graph.nodes().size(), whole.stages[i].graph.nodes().size());
      EXPECT_EQ(quick.stages[i].chunks, whole.stages[i].chunks);
    }
    EXPECT_DOUBLE_EQ(simulate(quick, q.profile).step_s, simulate(whole, q.profile).step_s) << to_string(layout);
  }
}

// It is the same plan where all fits, and none where a single rank does not.
TEST(PlanToCompare, EndsAtTheRankThatNeedsTooMuch) {
  const PlanQuestion q = sixteen("rtx4090");
  for (const Layout& layout : some_layouts()) {
    const Config config = config_of(q, layout);
    const int64_t most = largest_plan_bytes(build_plan_to_compare(config));
    const auto within = [&](int64_t limit) {
      return build_plan_to_compare(config, [=](int64_t bytes) { return bytes <= limit; });
    };
    const std::optional<Plan> fits = within(most);
    ASSERT_TRUE(fits) << to_string(layout);
    EXPECT_EQ(largest_plan_bytes(*fits), most);
    const Plan whole = build_plan_to_compare(config);
    for (size_t i = 0; i < whole.stages.size(); ++i)
      EXPECT_EQ(fits->stages[i].memory.total_bytes(), whole.stages[i].memory.total_bytes());
    EXPECT_EQ(simulate(*fits, q.profile).step_s, simulate(whole, q.profile).step_s);
    EXPECT_FALSE(within(most - 1)) << to_string(layout);
  }
}

// What orders layouts is near what is simulated: only then is it right to leave out those a tenth above the best.
TEST(Estimate, IsNearTheSimulation) {
  for (const char* cluster : {"rtx4090", "h100-sxm"}) {
    const PlanQuestion q = sixteen(cluster);
    SmallModels models;
    Estimator estimator(q, models);
    for (const Layout& layout : some_layouts()) {
      const Plan plan = build_plan_to_compare(config_of(q, layout));
      const double step_s = simulate(plan, q.profile).step_s;
      const LayoutEstimate estimate = estimator.of(layout);
      EXPECT_LT(estimate.step_s, 1.1 * step_s) << cluster << ": " << to_string(layout);
      EXPECT_GT(estimate.step_s, 0.75 * step_s) << cluster << ": " << to_string(layout);
      const auto bytes = static_cast<double>(largest_plan_bytes(plan));
      EXPECT_LT(estimate.bytes, 1.1 * bytes) << to_string(layout);
      EXPECT_GT(estimate.bytes, 0.5 * bytes) << to_string(layout);
    }
  }
}

// Everything that fits, simulated, has the same best.
TEST(Planner, FindsWhatBruteForceFinds) {
  for (const auto& [cluster, devices] : {std::pair{"rtx4090", 4}, {"h100-sxm", 4}, {"rtx4090-p2p", 8}}) {
    PlanQuestion q = small(cluster, devices);
    if (devices == 8) q.fixed.micro_batch = 1;
    const PlanAnswer quick = plan(q), all = plan(q, {.slack = 0});
    EXPECT_LT(quick.simulated, all.simulated);
    EXPECT_EQ(all.left_out.count("estimated to be slower"), 0u);
    ASSERT_FALSE(quick.plans.empty());
    EXPECT_EQ(quick.plans[0].layout, all.plans[0].layout) << cluster;
    EXPECT_EQ(quick.plans[0].step_s, all.plans[0].step_s);
    EXPECT_EQ(quick.searched, all.searched);
  }
}

TEST(Planner, CountsEveryLayoutOnce) {
  const PlanAnswer answer = plan(small("rtx4090"));
  int64_t sum = answer.simulated;
  for (const auto& [why, count] : answer.left_out) sum += count;
  EXPECT_EQ(sum, answer.searched);
}

TEST(Planner, MemoryIsThatOfThePlan) {
  const PlanQuestion q = small("rtx4090");
  const PlanAnswer answer = plan(q);
  for (size_t i = 0; i < std::min<size_t>(3, answer.plans.size()); ++i) {
    const Plan whole = build_plan(config_of(q, answer.plans[i].layout));
    EXPECT_EQ(answer.plans[i].memory_bytes, largest_plan_bytes(whole));
    EXPECT_LE(static_cast<double>(largest_plan_bytes(whole)), q.profile.device.plannable_bytes());
    EXPECT_NEAR(answer.plans[i].step_s, simulate(whole, q.profile).step_s, 1e-12);
  }
}

TEST(Planner, TheFrontGivesTimeForMemory) {
  const PlanAnswer answer = plan(small("rtx4090"));
  ASSERT_GT(answer.pareto.size(), 1u);
  EXPECT_EQ(answer.pareto[0].layout, answer.plans[0].layout);
  for (size_t i = 1; i < answer.pareto.size(); ++i) {
    EXPECT_GE(answer.pareto[i].step_s, answer.pareto[i - 1].step_s);
    EXPECT_LT(answer.pareto[i].memory_bytes, answer.pareto[i - 1].memory_bytes);
  }
  for (const PlannedLayout& any : answer.plans)  // none is better in both than one of the front
    EXPECT_TRUE(std::ranges::any_of(answer.pareto, [&](const PlannedLayout& of) {
      return of.step_s <= any.step_s && of.memory_bytes <= any.memory_bytes;
    }));
}

TEST(Planner, FixedChoicesStay) {
  PlanQuestion q = small("rtx4090");
  q.fixed.tp = 2, q.fixed.schedule = ScheduleKind::k1F1B, q.fixed.recompute = Recompute{Recompute::Kind::kFull};
  const PlanAnswer answer = plan(q);
  ASSERT_FALSE(answer.plans.empty());
  for (const PlannedLayout& one : answer.plans) {
    EXPECT_EQ(one.layout.tp, 2);
    EXPECT_EQ(one.layout.schedule, ScheduleKind::k1F1B);
    EXPECT_EQ(one.layout.recompute.kind, Recompute::Kind::kFull);
  }
}

TEST(Planner, TensorParallelStaysInAHostUnlessItIsFixed) {
  PlanQuestion q = question("rtx4090", 16, {"--model", "llama2-7b", "--layers", "2", "--global-batch", "16"});
  q.fixed.micro_batch = 1, q.fixed.pp = 1;
  const LayoutSpace space = layout_space(q);
  EXPECT_GT(space.left_out.at("tp would cross hosts"), 0);
  for (const Layout& layout : space.layouts) EXPECT_LE(layout.tp, 8);
  q.fixed.tp = 16;
  EXPECT_FALSE(layout_space(q).layouts.empty());
}

TEST(Planner, WhereNothingFitsItSaysWhatIsNearest) {
  const PlanQuestion q = question("rtx4090", 2, {"--model", "llama2-7b", "--global-batch", "4"});
  const PlanAnswer answer = plan(q);
  EXPECT_TRUE(answer.plans.empty());
  EXPECT_GT(static_cast<double>(answer.nearest.memory_bytes), q.profile.device.plannable_bytes());
  EXPECT_EQ(answer.nearest.memory_bytes, largest_plan_bytes(build_plan(config_of(q, answer.nearest.layout))));
  const auto more = enough_devices(q, answer);
  ASSERT_TRUE(more);
  PlanQuestion enough = q;
  enough.devices = more->devices;
  EXPECT_TRUE(fits(build_plan(config_of(enough, more->layout)), q.profile));
  // The next fewer that it tried does not.
  for (const double times : {1.5, 2., 3., 4., 6., 8.}) {
    enough.devices = static_cast<int>(2 * times);
    if (enough.devices < more->devices) {
      EXPECT_TRUE(plan(enough).plans.empty()) << enough.devices;
    }
  }
}

// A larger card wants another layout, and what it gives is the search on that card.
TEST(Planner, AfterAChangeAnotherLayoutMayBeBest) {
  PlanQuestion q = question("rtx4090", 8, {"--model", "llama2-7b", "--layers", "16", "--global-batch", "16"});
  q.fixed.micro_batch = 1;
  const PlanAnswer answer = plan(q);
  std::vector<WhatIf> after;
  add_best_layouts_after_changes(q, answer.plans[0].layout, answer.plans[0].step_s, answer.small_models, after);
  const auto large = std::ranges::find(after, "memory_80gib_layout", &WhatIf::id);
  ASSERT_NE(large, after.end());
  PlanQuestion on_large = q;
  on_large.profile.device.memory_gib = 80;
  const PlanAnswer there = plan(on_large);
  EXPECT_EQ(large->step_s, there.plans[0].step_s);
  EXPECT_DOUBLE_EQ(large->gain_s, answer.plans[0].step_s - there.plans[0].step_s);
  EXPECT_THAT(large->change, ::testing::HasSubstr(to_string(there.plans[0].layout)));
  EXPECT_GT(large->gain_s, 0);
  // Where the layout as it is does as well, there is nothing to say.
  std::vector<WhatIf> known = after;
  for (WhatIf& one : known) one.id.resize(one.id.size() - kBestLayout.size());
  const size_t before = known.size();
  ASSERT_GT(before, 1u);
  add_best_layouts_after_changes(q, answer.plans[0].layout, answer.plans[0].step_s, answer.small_models, known);
  EXPECT_EQ(known.size(), before);
}

Prediction predicted(const Plan& of) { return predict(of, load_profile("rtx4090")); }

// A layout that stalls: the prediction of its step names one that does not, and its time is that layout's own.
TEST(Planner, APredictionNamesABetterLayout) {
  const PlanQuestion q = question("rtx4090", 8, {"--model", "llama2-7b", "--layers", "16", "--global-batch", "16"});
  const Layout slow{.tp = 8, .micro_batch = 1, .recompute = {.kind = Recompute::Kind::kFull}};
  const Plan of_slow = build_plan(config_of(q, slow));
  const Prediction before = predicted(of_slow);
  const std::vector<WhatIf> list = outlook_with_layouts(of_slow, before).what_if;
  const auto better = std::ranges::find(list, "layout", &WhatIf::id);
  ASSERT_NE(better, list.end());
  const PlanAnswer answer = plan(q);
  EXPECT_EQ(better->step_s, answer.plans[0].step_s);
  EXPECT_EQ(better->change, "another layout: " + flags_of(answer.plans[0].layout));
  EXPECT_DOUBLE_EQ(better->gain_s, before.simulation.step_s - better->step_s);
  EXPECT_EQ(predicted(build_plan(config_of(q, answer.plans[0].layout))).simulation.step_s, better->step_s);
  // On an A100 of 80 GB another layout than on a 4090 is best; both gain over what is.
  const auto there = std::ranges::find(list, "cluster_a100-80-sxm_layout", &WhatIf::id);
  ASSERT_NE(there, list.end());
  PlanQuestion a100 = q;
  a100.profile = load_profile("a100-80-sxm");
  EXPECT_EQ(there->step_s, plan(a100).plans[0].step_s);
  EXPECT_TRUE(std::ranges::is_sorted(list, std::greater(), &WhatIf::gain_s));

  // The best one has nothing to say of other layouts.
  const Plan of_best = build_plan(config_of(q, answer.plans[0].layout));
  EXPECT_EQ(chosen_layout(of_best.config), answer.plans[0].layout);
  const std::vector<WhatIf> of_the_best = outlook_with_layouts(of_best, predicted(of_best)).what_if;
  EXPECT_EQ(std::ranges::count(of_the_best, "layout", &WhatIf::id), 0);
}

TEST(Planner, APredictionSearchesNoLayoutsWhereThatTakesLongOrSaysNothing) {
  const auto searched = [](int devices, const std::vector<std::string>& flags) {
    const PlanQuestion q = question("rtx4090", devices, flags);
    const Plan of = build_plan(config_of(q, {.dp = devices, .micro_batch = 1}));
    return searches_layouts(of, predicted(of));
  };
  EXPECT_TRUE(searched(64, {"--model", "bench-s", "--global-batch", "128"}));
  EXPECT_FALSE(searched(128, {"--model", "bench-s", "--global-batch", "128"}));
  EXPECT_FALSE(searched(8, {"--model", "bench-s", "--global-batch", "128", "--slow", "3:1.5"}));
  EXPECT_FALSE(searched(8, {"--model", "llama2-13b", "--global-batch", "8"}));  // does not fit
}

// A run of 10 billion tokens, by hand. Half a step less is half the days and, as a setting, half the money; a purchase saves
// by what a token then costs less.
TEST(Planner, ChangesSaveDaysAndUsdOfTheRun) {
  const PlanQuestion q = question("rtx4090", 16, {"--model", "llama2-7b", "--global-batch", "16"});
  PlannedLayout best;
  best.step_s = 2, best.tokens_per_s = 16 * 4096 / 2.0;
  const std::vector<WhatIf> list = {
      {.id = "setting", .gain_s = 1, .price = free_of_charge("a setting"), .token_cost_change = -0.5},
      {.id = "nics", .gain_s = 1, .price = {3000.0, "NICs"}, .token_cost_change = 0.1},
      {.id = "bound", .gain_s = 1, .price = not_for_sale("nobody sells it")}};
  const double days = 1e10 / best.tokens_per_s / 86400,
               hour = 2 * ((8000 + 8 * 1600) / (3 * 365 * 24.0) + 4.4 * 0.1);
  std::vector<WhatIf> bought = list;
  add_savings(q, {.tokens = 1e10}, best, bought);
  for (const WhatIf& one : bought) EXPECT_NEAR(one.days_saved.value_or(0), days / 2, 1e-6 * days) << one.id;
  EXPECT_NEAR(bought[0].usd_saved.value_or(0), days * 24 * hour / 2, 1e-6 * days * hour);
  EXPECT_NEAR(bought[1].usd_saved.value_or(0), -0.1 * days * 24 * hour, 1e-6 * days * hour);
  EXPECT_FALSE(bought[2].usd_saved);
  // Who rents buys nothing.
  std::vector<WhatIf> rented = list;
  add_savings(q, {.tokens = 1e10, .usd_per_device_hour = 0.5}, best, rented);
  EXPECT_NEAR(rented[0].usd_saved.value_or(0), 0.5 * 16 * days * 24 / 2, 1e-6 * days);
  EXPECT_FALSE(rented[1].usd_saved || rented[1].token_cost_change);
  // Failures make a run longer, and what is saved of it.
  std::vector<WhatIf> failing = list;
  add_savings(q, {.tokens = 1e10, .failure_device_hours = 720, .recovery_min = 10, .checkpoint_min = 1}, best,
              failing);
  EXPECT_GT(*failing[0].days_saved, *bought[0].days_saved);
  // Without tokens there is no run.
  std::vector<WhatIf> step_only = list;
  add_savings(q, {}, best, step_only);
  EXPECT_FALSE(step_only[0].days_saved || step_only[0].usd_saved);
  EXPECT_EQ(step_only[1].token_cost_change, 0.1);
}

// Minutes and cents of a small run, and no powers of ten in any.
TEST(Planner, LengthsAndMoneyOfAnySizeAreReadable) {
  PlanQuestion q = question("rtx4090", 2, {"--model", "small", "--global-batch", "16"});
  q.fixed.micro_batch = 8, q.fixed.pp = 1;
  const PlanAnswer answer = plan(q);
  ASSERT_FALSE(answer.plans.empty());
  for (const auto& [tokens, unit] : {std::pair{1e8, "minutes"}, {4e9, "hours"}, {1e15, "days"}}) {
    const std::string text = planner_text(planner_json(q, answer, {.tokens = tokens}, 5));
    EXPECT_THAT(text, ::testing::HasSubstr(unit));
    EXPECT_FALSE(text.find("e+") != text.npos || text.find(" 0 USD") != text.npos) << text;
    EXPECT_EQ(text.find("longer than the 3 years") != text.npos, tokens == 1e15);
  }
  // The second best differs from the best in words, too.
  const auto json = planner_json(q, answer, {}, 5);
  ASSERT_GT(json["plans"].size(), 1u);
  const auto sentence = json["answer"][1].get<std::string>();
  const size_t second = sentence.find("longer: ") + 8;
  EXPECT_THAT(json["answer"][0].get<std::string>(),
              ::testing::Not(::testing::HasSubstr(sentence.substr(second, sentence.size() - second - 1) + ":")));
  // A pipeline of one stage has no order.
  EXPECT_THAT(planner_text(json), ::testing::HasSubstr("8 -            none"));
  // Each plan that is shown has its command.
  for (const char* list : {"plans", "pareto"})
    for (const auto& one : json[list])
      EXPECT_THAT(planner_text(json), ::testing::HasSubstr("  " + one["command"].get<std::string>() + "\n"));
}

// Small models know nothing of a cluster.
TEST(Planner, ASearchWithWhatAnotherBuiltIsTheSame) {
  PlanQuestion q = small("rtx4090");
  const PlanAnswer first = plan(q);
  q.profile = load_profile("h100-sxm");
  const PlanAnswer alone = plan(q), after = plan(q, {}, first.small_models);
  ASSERT_EQ(alone.plans.size(), after.plans.size());
  for (size_t i = 0; i < alone.plans.size(); ++i) {
    EXPECT_EQ(alone.plans[i].layout, after.plans[i].layout);
    EXPECT_EQ(alone.plans[i].step_s, after.plans[i].step_s);
    EXPECT_EQ(alone.plans[i].estimate_s, after.plans[i].estimate_s);
  }
  EXPECT_EQ(alone.left_out, after.left_out);
}

// Two ranks of tiny on four cores that measured everything: dp is free of most messages, tp sends all day.
TEST(LayoutHint, OnlyWhereAnotherLayoutIsMuchBetter) {
  const auto of = [](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"train_llama", "--dry-run", "--model", "tiny", "--threads", "1"});
    std::vector<const char*> argv;
    for (const std::string& flag : flags) argv.push_back(flag.c_str());
    return build_plan(std::get<Config>(parse_train_flags(static_cast<int>(argv.size()), argv.data(), {}, "")));
  };
  Profile cores = testing::four_core_profile();
  CpuOpCost all = cores.cpu.ops[1];
  ASSERT_EQ(all.op, "rms_norm");
  const Plan slow = of({"--ranks", "2", "--tp", "2"});
  for (const std::string& op : simulate(slow, cores).not_measured)
    for (const DType dtype : {DType::kBF16, DType::kF32})
      all.op = op, all.dtype = dtype, cores.cpu.ops.push_back(all);
  ASSERT_THAT(simulate(slow, cores).not_measured, ::testing::IsEmpty());
  const auto hint = layout_hint(slow, cores, "here.json", 60);
  ASSERT_TRUE(hint);
  EXPECT_THAT(*hint, ::testing::HasSubstr("tp 1 pp 1 dp 2"));
  EXPECT_THAT(*hint, ::testing::HasSubstr("--cluster here.json --devices 2"));
  const Plan best = of({"--ranks", "2", "--micro-batch", "16", "--zero", "0"});
  EXPECT_EQ(layout_hint(best, cores, "here.json", 60), std::nullopt);
  cores.cpu.cores = 1;  // more threads than cores: nobody knows
  EXPECT_EQ(layout_hint(slow, cores, "here.json", 60), std::nullopt);
}

TEST(PlannerReport, DaysAndMoneyFollowFromTheStep) {
  const PlanQuestion q = small("rtx4090");
  const PlanAnswer answer = plan(q);
  const auto json = planner_json(q, answer, {.tokens = 1e9}, 3);
  const auto& best = json["plans"][0];
  EXPECT_LE(json["plans"].size(), 3u);
  EXPECT_NEAR(best["days"].get<double>(), 1e9 / best["tokens_per_s"].get<double>() / 86400, 1e-9);
  EXPECT_NEAR(best["tokens_per_s"].get<double>(), 16 * 2048 / best["step_s"].get<double>(), 1e-6);
  EXPECT_GT(best["usd"].get<double>(), 0);
  // Rented, half the hours are half the money.
  const auto rented = planner_json(q, answer, {.tokens = 1e9, .usd_per_device_hour = 0.5}, 3)["plans"][0];
  EXPECT_NEAR(rented["usd"].get<double>(), 0.5 * 4 * 24 * rented["days"].get<double>(), 1e-6);
  EXPECT_TRUE(planner_json(q, answer, {}, 3)["plans"][0]["days"].is_null());
  // Failures make it longer by the goodput.
  const auto failing =
      planner_json(q, answer, {.tokens = 1e9, .failure_device_hours = 720, .recovery_min = 10, .checkpoint_min = 1},
                   3)["plans"][0];
  EXPECT_NEAR(failing["days"].get<double>(), best["days"].get<double>() / failing["goodput"].get<double>(), 1e-9);
  EXPECT_LT(failing["goodput"].get<double>(), 1);
  // Where failures come faster than the run recovers, it never ends.
  const auto never = planner_json(
      q, answer, {.tokens = 1e9, .failure_device_hours = 0.001, .recovery_min = 10, .checkpoint_min = 1}, 3);
  EXPECT_TRUE(never["plans"][0]["days"].is_null());
  EXPECT_TRUE(never["plans"][0]["usd"].is_null());
  EXPECT_LT(never["plans"][0]["goodput"].get<double>(), 1e-6);
  const std::string text = planner_text(json);
  EXPECT_THAT(text, ::testing::HasSubstr(best["command"].get<std::string>()));
}

}  // namespace
}  // namespace trine
