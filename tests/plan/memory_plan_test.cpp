// The memory plan, held against an execution on shadow memory.
#include "plan/memory_plan.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <numeric>

#include "models/presets.h"
#include "plan/config/flag_values.h"
#include "plan/packing.h"
#include "plan/plan.h"
#include "tests/plan/shadow_execution.h"

namespace trine {
namespace {

Config small_config(int64_t micro_batch) {
  Config config;
  config.model = find_preset("tiny")->model;
  config.model.layers = 3, config.model.hidden = 32, config.model.ffn = 40, config.model.head_dim = 8;
  config.seq = 6, config.global_batch = 8, config.micro_batch = micro_batch;
  return config;
}

// The shadow finds nothing wrong, and the table says what the arena is.
void check(const Graph& graph, const Schedule& schedule, const MemoryPlan& plan) {
  for (const bool device_to_device : {false, true}) {
    const StepProgram program(graph, schedule, StepMode::kTrain, device_to_device, &plan);
    ShadowExecution shadow(program, plan);
    shadow.run();
    EXPECT_GT(shadow.checked_bytes(), 100000);
  }
  const int64_t sum = std::accumulate(plan.table.begin(), plan.table.end(), int64_t{0},
                                      [](int64_t total, const MemoryLine& line) { return total + line.bytes; });
  EXPECT_EQ(sum, plan.total_bytes());
  for (const ByteRange& range : plan.used) {
    EXPECT_GE(range.begin, 0);
    EXPECT_LE(range.end, plan.total_bytes());
  }
}

// What 64 bits cannot hold is refused, not wrapped: 2^53 bytes each for some values of a layer.
TEST(MemoryPlan, RefusesMoreBytesThanItCanCount) {
  Config config = small_config(127);
  config.model = {.layers = 60, .hidden = 1 << 20, .heads = 1, .kv_heads = 1, .head_dim = 2, .ffn = 1, .vocab = 3};
  config.seq = 1 << 24, config.global_batch = 127, config.dtype = DType::kF32;
  try {
    build_plan(config);
    FAIL() << "a plan";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string_view(error.what()).find("2^60 at most"), std::string_view::npos) << error.what();
  }
}

int slots_of(const MemoryPlan& plan, std::string_view pool) {
  int most = 0;
  for (const Pool& p : plan.pools)
    if (p.name == pool) most = std::max(most, p.num_slots);
  return most;
}

void check(const Graph& graph, const Schedule& schedule, int frames) {
  const MemoryPlan plan = plan_memory(graph, schedule, 2);
  EXPECT_EQ(slots_of(plan, "activations"), frames);
  check(graph, schedule, plan);
}

TEST(MemoryPlan, EveryReadFindsWhatWasWritten) {
  const Plan plan = build_plan(small_config(2));
  check(plan.stages[0].graph, plan.stages[0].schedule, 1);
}

TEST(MemoryPlan, WithSeveralMicrobatchesInFlight) {
  const Plan plan = build_plan(small_config(1));
  check(plan.stages[0].graph, one_forward_one_backward(0, 4, 8), 4);
  Schedule last = one_forward_one_backward(3, 4, 8);
  for (Action& action : last) action.stage = 0;
  check(plan.stages[0].graph, last, 1);
  check(plan.stages[0].graph, gpipe(0, 8), 8);
}

TEST(MemoryPlan, WithoutInPlace) {
  Config config = small_config(2);
  config.disabled_passes = {"in-place"};
  const Plan plan = build_plan(config);
  check(plan.stages[0].graph, plan.stages[0].schedule, 1);
}

// Receives that come one action ahead, sends that are under way while the next actions run, chunks, the W of a
// split backward; tensor parallelism with its views and its shares of the tokens.
class PipelineMemory : public testing::TestWithParam<std::tuple<int, ScheduleKind, int>> {};

TEST_P(PipelineMemory, EveryReadFindsWhatWasWritten) {
  const auto& [pp, schedule, tp] = GetParam();
  for (const Recompute recompute : {Recompute{}, Recompute{Recompute::Kind::kSelective},
                                    Recompute{Recompute::Kind::kGroup, 2}, Recompute{Recompute::Kind::kFull}}) {
    Config config = small_config(1);
    config.model.layers = 9;
    config.recompute = recompute;
    config.mesh = {.pp = pp, .dp = 1, .tp = tp};
    config.pp = pp, config.tp = tp, config.sequence_parallel = tp > 1;
    config.schedule = schedule, config.vpp = schedule == ScheduleKind::kInterleaved ? 2 : 1;
    const Plan plan = build_plan(config);
    for (int rank = 0; rank < pp; ++rank) {
      const StagePlan& stage = plan.stages[static_cast<size_t>(rank)];
      SCOPED_TRACE("stage " + std::to_string(rank) + " recompute " + ValueText<Recompute>::print(recompute));
      check(stage.graph, stage.schedule, stage.memory);
      for (const int send_slots : {1, 3})
        check(stage.graph, stage.schedule, plan_memory(stage.graph, stage.schedule, 1, send_slots));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Schedules, PipelineMemory,
                         testing::Combine(testing::Values(2, 4),
                                          testing::Values(ScheduleKind::kGpipe, ScheduleKind::k1F1B,
                                                          ScheduleKind::kInterleaved, ScheduleKind::kZeroBubble),
                                          testing::Values(1, 2)),
                         [](const auto& test) {
                           std::string text = fmt::format("pp{}_{}_tp{}", std::get<0>(test.param),
                                                          name(std::get<1>(test.param)), std::get<2>(test.param));
                           std::replace(text.begin(), text.end(), '-', '_');
                           return text;
                         });

// What a middle stage of 1F1B has: as many frames as microbatches in flight, a slot for each message under way.
TEST(MemoryPlan, SlotsAreAsManyAsTheScheduleNeeds) {
  Config config = small_config(1);
  config.model.layers = 4;
  config.mesh.pp = config.pp = 4;
  const Plan plan = build_plan(config);
  for (int rank = 0; rank < 4; ++rank) {
    const StagePlan& stage = plan.stages[static_cast<size_t>(rank)];
    EXPECT_EQ(slots_of(stage.memory, "activations"), 4 - rank);
    EXPECT_EQ(slots_of(stage.memory, "sent"), 2);
    int receiving = 0;
    for (const Pool& pool : stage.memory.pools) receiving += pool.name == "received";
    EXPECT_EQ(receiving, rank == 0 || rank == 3 ? 1 : 2)
        << "an input from the stage before, a gradient from the next";
  }
  const StepProgram program = step_program(plan.stages[0], StepMode::kTrain, false);
  std::vector<int> waits;  // microbatches of forwards before which an earlier message must have arrived
  program.for_each([&](const Command& command) {
    if (command.kind == CommandKind::kWaitSent) waits.push_back(command.microbatch);
  });
  EXPECT_EQ(waits, (std::vector{2, 3, 4, 5, 6, 7})) << "8 sends from 2 slots";
}

TEST(MemoryPlan, StatesAreExactlyWhatAdamNeeds) {
  Config config = small_config(2);
  const Plan plan = build_plan(config);
  int64_t elements = 0;  // with padding to 256 elements
  for (const State& state : plan.stages[0].graph.states())
    if (state.role == StateRole::kMaster) elements += state.type.shape.num_elements();
  EXPECT_GE(elements, parameter_count(config.model));
  EXPECT_LT(elements, parameter_count(config.model) + 256 * (9 * config.model.layers + 3));
  for (const MemoryLine& line : plan.stages[0].memory.table) {
    const bool f32 = line.name.starts_with("Adam") || line.name.starts_with("gradients");
    if (f32 || line.name.starts_with("weights")) {
      EXPECT_EQ(line.bytes, (f32 ? 4 : 2) * elements) << line.name;
    }
  }
}

TEST(Packing, ConflictsNeverOverlapAndOthersShare) {
  const std::vector<int64_t> sizes = {64, 128, 64, 256, 64};
  const auto chain = [](size_t a, size_t b) {
    return a > b ? a - b <= 1 : b - a <= 1;
  };  // each with its neighbours
  const Packing packing = pack(sizes, chain);
  for (size_t a = 0; a < sizes.size(); ++a)
    for (size_t b = a + 1; b < sizes.size(); ++b)
      EXPECT_TRUE(!chain(a, b) || packing.offsets[a] + sizes[a] <= packing.offsets[b] ||
                  packing.offsets[b] + sizes[b] <= packing.offsets[a]);
  EXPECT_EQ(packing.total, 256 + 64);
  EXPECT_EQ(pack(sizes, [](size_t, size_t) { return true; }).total, 64 + 128 + 64 + 256 + 64);
  EXPECT_EQ(pack(sizes, [](size_t, size_t) { return false; }).total, 256);
}

}  // namespace
}  // namespace trine
