#include "runtime/measure/op_times.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <numeric>

#include "base/error.h"
#include "cluster/cpu_cost.h"
#include "comm/local/local_ranks.h"
#include "comm/world.h"
#include "plan/plan.h"
#include "runtime/measure/transfer_times.h"

namespace trine {
namespace {

// The part of a rank of tp 2 has the products that such a rank has.
TEST(OpTimes, AShareOfAModelHasTheShapesOfItsRanks) {
  const Config part = config_of({.model = "bench-s", .tp = 2, .micro_batch = 2});
  EXPECT_EQ(part.model.heads, 4);
  EXPECT_EQ(part.model.kv_heads, 2);
  EXPECT_EQ(part.model.head_dim, 32);
  EXPECT_EQ(part.model.ffn, 344);
  EXPECT_EQ(part.model.hidden, 256);
  EXPECT_EQ(part.num_microbatches(), 2);
  EXPECT_EQ(config_of({.model = "llama2-7b"}).model.layers, 2);
  EXPECT_EQ(config_of({.model = "tiny"}).model.layers, 8);
  EXPECT_THROW(config_of({.model = "tiny", .tp = 3}), ConfigError);
}

// Every op of a step is measured, its costs are those of the plan's nodes, and together they take what the measured steps
// took: what interrupts a step is in them.
TEST(OpTimes, AllOpsOfAStepAreThere) {
  const Config config = config_of({.model = "tiny", .micro_batch = 1});
  const auto backend = make_cpu_backend(1);
  const StepTimes times = measure_steps(config, *backend, 0.3);
  CpuProfile cpu{.cores = 1, .stream_gb_per_s = 10, .stream_all_gb_per_s = 10, .ops = {}, .transfers = {}};
  cpu.ops = op_costs(times, {}, DType::kBF16, 1, 1, 1);
  const Plan plan = build_plan(config);
  const Graph& graph = plan.stages[0].graph;
  int num_kernels = 0;
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    const Node& node = graph.nodes()[n];
    if (node.lane != Lane::kCompute || node.op->is_view() || node.op->is_transfer()) continue;
    const Cost cost = graph.cost({static_cast<int32_t>(n)});
    const OpShape shape{std::string(node.op->name()), cost.flops,
                        static_cast<double>(cost.bytes_read + cost.bytes_written)};
    EXPECT_TRUE(times.us.contains(shape)) << node.op->name();
    EXPECT_TRUE(cpu_op_s(cpu, node.op->name(), cost, DType::kBF16, 1, 1).measured);
    ++num_kernels;
  }
  EXPECT_GT(num_kernels, 50);
  double measured_us = 0, known_us = 0;
  for (const auto& [shape, samples] : times.us) measured_us += std::accumulate(samples.begin(), samples.end(), 0.0);
  step_program(plan.stages[0], StepMode::kTrain, false).for_each([&](const Command& command) {
    if (command.kind != CommandKind::kRun) return;
    const NodeId id{command.node};
    if (!graph[id].op->is_view())
      known_us += 1e6 * cpu_op_s(cpu, graph[id].op->name(), graph.cost(id), DType::kBF16, 1, 1).seconds;
  });
  EXPECT_NEAR(known_us * static_cast<double>(times.rest_us.size()) / measured_us, 1, 0.01);
  EXPECT_GE(times.rest_us.size(), 1u);
}

TEST(TransferTimes, FourKindsOfCollectivesAndMessages) {
  // A busy machine may hold up any single one of them.
  bool large_take_longer = false;
  const auto measure = [&](Fabric& fabric) {
    const auto world = connect_all(fabric, std::chrono::seconds(60));
    const LaneTimes lane = measure_lane(*world, 1);
    EXPECT_GT(lane.wake_us, 0);
    EXPECT_GT(lane.post_us, 0);
    const auto collectives = measure_collectives(*world, 1, lane, 1);
    const CpuTransferCost messages = measure_messages(*world, 1, 1);
    if (fabric.rank() > 0) return;
    EXPECT_EQ(collectives.size(), 4u);
    for (const CpuTransferCost& cost : collectives) ASSERT_EQ(cost.points.size(), 6u);
    large_take_longer = std::ranges::all_of(
        collectives, [](const CpuTransferCost& cost) { return cost.points.back().us > cost.points.front().us; });
    EXPECT_EQ(messages.points.size(), 6u);
    EXPECT_GT(messages.points.front().us, 0);
  };
  for (int attempt = 0; attempt < 10 && !large_take_longer; ++attempt) run_local_ranks(2, measure);
  EXPECT_TRUE(large_take_longer);
}

}  // namespace
}  // namespace trine
