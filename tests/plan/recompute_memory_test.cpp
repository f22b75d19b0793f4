// What a layer keeps for backward, against the published formulas, byte by byte; and plans that fit a budget.
//
// Korthikanti et al. 2022 ("Reducing activation recomputation in large transformer models", sections 4 and 5) give
// the bytes that a GPT layer keeps, in 16 bits, for s tokens, b sequences, h hidden, a heads,
// t tensor-parallel ranks:
//     s b h (34 + 5 a s / h)            one rank
//     s b h (10 + 24 / t + 5 a s / h t) tensor parallelism
//     s b h (34 + 5 a s / h) / t        with sequence parallelism
//     2 s b h                           full recomputation: the layer's input
// A LLaMA layer differs in this:
//   - no dropout: of the 34, the masks of the two residual branches (1 each) go: 32, of which 8 (not 10) are whole
//     on each tensor-parallel rank: the inputs and outputs of the two norms;
//   - tiled attention keeps the log-sum-exp of each row and head, 4 a bytes a token,
//   in place of scores: no 5 a s / h;
//   - the norms keep 1 / rms of each token, 4 bytes each (GPT's formula leaves its two statistics out as small);
//   - grouped queries: k and v have g columns, not h: 4 h of the 32 (k, v: 2 bytes each) are 4 g;
//   - SwiGLU keeps gate, up and their product, 3 f columns, in place of GeLU's 4 h + 4 h: 16 h are 6 f. They are
//     equal at f = 8/3 h, LLaMA's size, so that with g = h the 32 stay.
// Together, for N = s b tokens, with 32 = 12 (two norms' inputs and outputs, q, attention's output) + 4 + 16:
//     N (12 h + 4 g + 6 f + 4 a + 8)
#include <gtest/gtest.h>

#include "base/text.h"
#include "models/presets.h"
#include "plan/memory_budget.h"
#include "plan/plan.h"
#include "plan/printing/plan_text.h"

namespace trine {
namespace {

using Kind = Recompute::Kind;

struct Layout {
  int tp = 1;
  bool sequence_parallel = false;
};

Config make_config(Layout layout, Recompute recompute, int64_t layers) {
  Config config;
  config.model = find_preset("tiny")->model;
  config.model.layers = layers, config.model.hidden = 128, config.model.head_dim = 32;  // 4 heads, 2 of k and v
  config.model.ffn = 384;
  config.mesh.tp = config.tp = layout.tp;
  config.sequence_parallel = layout.sequence_parallel;
  config.recompute = recompute;
  config.seq = 64, config.micro_batch = 2, config.global_batch = 8;
  return config;
}

// Bytes that one microbatch keeps from forward to backward, with two in flight.
int64_t kept_bytes(const Config& config) {
  const Plan plan = build_plan(config);
  const MemoryPlan memory = plan_memory(plan.stages[0].graph, gpipe(0, 2), 1);
  for (const Pool& pool : memory.pools)
    if (pool.name == "activations" && pool.num_slots == 2) return pool.slot_bytes;
  ADD_FAILURE() << print(memory);
  return 0;
}
int64_t kept_by_a_layer(Layout layout, Recompute recompute) {
  return kept_bytes(make_config(layout, recompute, 4)) - kept_bytes(make_config(layout, recompute, 3));
}

// The letters of the formulas.
struct Sizes {
  int64_t N, h, g, f, a;
};
Sizes sizes() {
  const Config c = make_config({}, {}, 1);
  return {c.micro_batch * c.seq, c.model.hidden, c.model.kv_heads * c.model.head_dim, c.model.ffn, c.model.heads};
}

TEST(RecomputeMemory, ALayerKeepsWhatTheFormulaSays) {
  const auto [N, h, g, f, a] = sizes();
  EXPECT_EQ(kept_by_a_layer({}, {}), N * (12 * h + 4 * g + 6 * f + 4 * a + 8));
}

TEST(RecomputeMemory, TensorParallelLayersKeepNormsWhole) {
  const auto [N, h, g, f, a] = sizes();
  EXPECT_EQ(kept_by_a_layer({2, false}, {}), N * (8 * h + 8 + (4 * h + 4 * g + 6 * f + 4 * a) / 2));
}

TEST(RecomputeMemory, SequenceParallelLayersKeepAShareOfAll) {
  const auto [N, h, g, f, a] = sizes();
  EXPECT_EQ(kept_by_a_layer({2, true}, {}), N * (12 * h + 4 * g + 6 * f + 4 * a + 8) / 2);
}

TEST(RecomputeMemory, FullKeepsTheInputOfALayer) {
  const auto [N, h, g, f, a] = sizes();
  EXPECT_EQ(kept_by_a_layer({}, {Kind::kFull}), 2 * N * h);
  EXPECT_EQ(kept_by_a_layer({2, false}, {Kind::kFull}), 2 * N * h);
  EXPECT_EQ(kept_by_a_layer({2, true}, {Kind::kFull}), 2 * N * h / 2);
}

TEST(RecomputeMemory, GroupsKeepTheInputOfEach) {
  const auto [N, h, g, f, a] = sizes();
  const auto kept = [](int64_t layers) { return kept_bytes(make_config({}, {Kind::kGroup, 3}, layers)); };
  EXPECT_EQ(kept(6) - kept(3), 2 * N * h);
  EXPECT_EQ(kept(5), kept(6));
}

// Gone are the norms' outputs (4 h) and statistics (8), and the SwiGLU product (2 f).
TEST(RecomputeMemory, SelectiveKeepsAQuarterLess) {
  const auto [N, h, g, f, a] = sizes();
  for (const Layout layout : {Layout{}, Layout{2, false}, Layout{2, true}}) {
    const int64_t none = kept_by_a_layer(layout, {}), selective = kept_by_a_layer(layout, {Kind::kSelective});
    EXPECT_LE(4 * selective, 3 * none);
    EXPECT_LE(4 * kept_bytes(make_config(layout, {Kind::kSelective}, 4)),
              3 * kept_bytes(make_config(layout, {}, 4)));
  }
  EXPECT_EQ(kept_by_a_layer({}, {Kind::kSelective}), N * (8 * h + 4 * g + 4 * f + 4 * a));
}

// Per layer and microbatch, with sequence parallelism (DESIGN: exactly 6 and 4).
TEST(RecomputeMemory, CollectivesOfALayer) {
  const auto count = [](Recompute recompute, std::string_view op, int64_t layers) {
    const Plan plan = build_plan(make_config({2, true}, recompute, layers));
    int n = 0;
    for (const Node& node : plan.stages[0].graph.nodes())
      n += node.region == Region::kMicrobatch && node.op->name() == op;
    return n;
  };
  for (const Recompute recompute : {Recompute{}, Recompute{Kind::kSelective}}) {
    EXPECT_EQ(count(recompute, "all_gather", 3) - count(recompute, "all_gather", 2), 6);
    EXPECT_EQ(count(recompute, "reduce_scatter", 3) - count(recompute, "reduce_scatter", 2), 4);
  }
  // A rebuilt layer's gathers serve the weight gradients too; attention's sum is scattered once more.
  EXPECT_EQ(count({Kind::kFull}, "all_gather", 3) - count({Kind::kFull}, "all_gather", 2), 6);
  EXPECT_EQ(count({Kind::kFull}, "reduce_scatter", 3) - count({Kind::kFull}, "reduce_scatter", 2), 5);
}

// A pipeline, so that there are several microbatches in flight.
Config budget_config(Recompute recompute, std::optional<int64_t> budget) {
  Config config = make_config({}, recompute, 8);
  config.mesh.pp = config.pp = 2;
  if (budget) config.memory_budget = Bytes{*budget};
  return config;
}
int64_t need(Recompute recompute) {
  const Plan plan = build_plan(budget_config(recompute, {}));
  return std::max(plan.stages[0].memory.total_bytes(), plan.stages[1].memory.total_bytes());
}

// Each microbatch in flight of each chunk keeps less. Under zero-bubble a frame also has room for all that W reads,
// which no policy makes smaller: full gains nothing there.
TEST(RecomputeMemory, EverySchedulePlansLess) {
  for (const ScheduleKind schedule :
       {ScheduleKind::kGpipe, ScheduleKind::k1F1B, ScheduleKind::kInterleaved, ScheduleKind::kZeroBubble})
    for (const Layout layout : {Layout{}, Layout{2, true}}) {
      const auto need_of_first = [&](Recompute recompute) {
        Config config = make_config(layout, recompute, 8);
        config.mesh.pp = config.pp = 2, config.schedule = schedule;
        config.vpp = schedule == ScheduleKind::kInterleaved ? 2 : 1;
        return build_plan(config).stages[0].memory.total_bytes();
      };
      EXPECT_LT(need_of_first({Kind::kSelective}), need_of_first({})) << name(schedule) << layout.tp;
      if (schedule != ScheduleKind::kZeroBubble) {
        EXPECT_LT(need_of_first({Kind::kFull}), need_of_first({Kind::kSelective})) << name(schedule) << layout.tp;
      }
    }
}

TEST(MemoryBudget, AutoTakesTheFirstPolicyThatFits) {
  EXPECT_EQ(recompute_candidates(budget_config({Kind::kAuto}, {})),
            (std::vector<Recompute>{
                {Kind::kNone}, {Kind::kSelective}, {Kind::kGroup, 4}, {Kind::kGroup, 2}, {Kind::kFull}}));
  const auto chosen = [](int64_t budget) { return build_plan(budget_config({Kind::kAuto}, budget)); };
  const int64_t none = need({}), selective = need({Kind::kSelective}), full = need({Kind::kFull});
  ASSERT_GT(none, selective);
  ASSERT_GT(selective, full);
  EXPECT_EQ(chosen(none).config.recompute, Recompute{});
  EXPECT_EQ(chosen(none - 1).config.recompute, (Recompute{Kind::kSelective}));
  EXPECT_EQ(chosen(selective).config.recompute, (Recompute{Kind::kSelective}));
  for (int64_t budget = full; budget < selective; budget += std::max<int64_t>(1, (selective - full) / 7)) {
    const Plan plan = chosen(budget);
    EXPECT_TRUE(plan.config.recompute.kind == Kind::kGroup || plan.config.recompute.kind == Kind::kFull);
    for (const StagePlan& stage : plan.stages) EXPECT_LE(stage.memory.total_bytes(), budget);
  }
  EXPECT_NE(print_plan(chosen(selective)).find("recompute selective"), std::string::npos);
}

TEST(MemoryBudget, WhatDoesNotFitSaysWhatItNeeds) {
  const auto error = [](Recompute recompute, int64_t budget) -> std::string {
    try {
      build_plan(budget_config(recompute, budget));
    } catch (const OutOfMemoryError& e) {
      EXPECT_EQ(e.code(), ExitCode::kOutOfMemory);
      return e.what();
    }
    return "fits";
  };
  int64_t least = need({});
  for (const Recompute& candidate : recompute_candidates(budget_config({}, {})))
    least = std::min(least, need(candidate));
  const std::string none_fits = error({Kind::kAuto}, least - 1);
  EXPECT_NE(none_fits.find("needs " + format_bytes(least)), std::string::npos) << none_fits;
  EXPECT_NE(none_fits.find("the least of all policies"), std::string::npos) << none_fits;
  EXPECT_EQ(error({Kind::kAuto}, least), "fits");

  const std::string fixed = error({}, 1 << 20);
  EXPECT_NE(fixed.find("--memory-budget is 1.0 MiB"), std::string::npos) << fixed;
  EXPECT_NE(fixed.find(format_bytes(need({})) + " with --recompute none"), std::string::npos) << fixed;
  EXPECT_NE(fixed.find("activations: "), std::string::npos) << fixed;
  EXPECT_EQ(error({}, need({})), "fits");
}

// Of a deep model the inputs of all layers are more than a group of two rebuilds: full is not the least.
TEST(MemoryBudget, TheLeastNeedNotBeTheLastThatIsTried) {
  Config config = make_config({}, {Kind::kAuto}, 40);
  config.model.hidden = 32, config.model.head_dim = 8, config.model.ffn = 96;
  config.memory_budget = Bytes{1 << 20};
  try {
    build_plan(config);
    FAIL() << "fits";
  } catch (const OutOfMemoryError& e) {
    EXPECT_NE(std::string(e.what()).find("with --recompute group:2, the least"), std::string::npos) << e.what();
  }
}

TEST(MemoryBudget, AutoNeedsABudget) { EXPECT_THROW(build_plan(budget_config({Kind::kAuto}, {})), ConfigError); }

}  // namespace
}  // namespace trine
