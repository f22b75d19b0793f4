#include <fstream>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>
#include <sstream>

#include "analysis/prediction_report.h"
#include "analysis/simulated_costs.h"
#include "plan/config/flags.h"
#include "tests/cluster/cpu_profiles.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

using testing::four_core_profile;
using testing::four_cores;

// As train_llama reads it, with the cores of the cluster's file.
Plan plan_of(const std::string& flags) {
  std::istringstream words("train_llama --dry-run --model tiny " + flags);
  std::vector<std::string> args(std::istream_iterator<std::string>(words), {});
  std::vector<const char*> argv;
  for (const std::string& arg : args) argv.push_back(arg.c_str());
  FolderFacts facts;
  facts.cluster_cores = [](const std::string& file) {
    const CpuProfile cpu = load_profile(file).cpu;
    return ClusterCores{static_cast<int>(cpu.cores), static_cast<int>(cpu.hosts)};
  };
  return build_plan(std::get<Config>(parse_train_flags(static_cast<int>(argv.size()), argv.data(), {}, "", facts)));
}

constexpr const char* kOneThread = "--device cpu --threads 1 ";

double compute_s(const Plan& plan, const Profile& profile, int pp) {
  const SimulatedCosts costs(plan, profile);
  double seconds = 0;
  step_program(plan.stages[static_cast<size_t>(pp)], StepMode::kTrain, false).for_each([&](const Command& command) {
    if (command.kind == CommandKind::kRun) seconds += costs.node(pp, command.node).seconds;
  });
  return seconds;
}

TEST(CpuSimulation, OneRankTakesTheSumOfItsOps) {
  Profile profile = four_core_profile();
  const Plan plan = plan_of(kOneThread);
  EXPECT_NEAR(simulate(plan, profile).step_s, compute_s(plan, profile, 0), 1e-9);
  profile.cpu.step_us = 5000;
  const Simulation s = simulate(plan, profile);
  EXPECT_NEAR(s.step_s, compute_s(plan, profile, 0) + 5e-3, 1e-9);
  EXPECT_NEAR(s.mean[EventKind::kHost], 5e-3, 1e-9);
  EXPECT_THAT(s.not_measured, ::testing::Contains("attention"));
  EXPECT_THAT(s.not_measured, ::testing::Not(::testing::Contains("linear")));
}

// What a tp rank does beside a single rank's ops takes next to nothing: a guess of it makes no prediction unsure.
TEST(CpuSimulation, OnlyGuessesThatMatterAreTold) {
  const Plan plan = plan_of(std::string(kOneThread) + "--ranks 2 --tp 2");
  Profile profile = four_core_profile();
  CpuOpCost other = profile.cpu.ops[1];
  for (const std::string& op : simulate(plan, profile).not_measured)
    other.op = op, profile.cpu.ops.push_back(other);
  const Graph& graph = plan.stages[0].graph;
  const bool has_guess = std::ranges::any_of(graph.nodes(), [&](const Node& node) {
    return node.lane == Lane::kCompute && !node.op->is_view() &&
           std::ranges::none_of(profile.cpu.ops, [&](const CpuOpCost& cost) { return cost.op == node.op->name(); });
  });
  EXPECT_TRUE(has_guess);
  EXPECT_THAT(simulate(plan, profile).not_measured, ::testing::IsEmpty());
}

// Lanes that have no cores of their own hide nothing: the step is all kernels and all collectives. With cores
// beside, what starts early is hidden.
TEST(CpuSimulation, LanesTakeTurnsWithTheirRanksUnlessCoresAreLeft) {
  for (const char* flags : {"--ranks 2 --tp 2", "--ranks 2 --zero 0", "--ranks 2 --zero 1"}) {
    const Plan plan = plan_of(kOneThread + std::string(flags));
    Profile profile = four_core_profile();
    profile.cpu.cores = 2;
    SimulatedCosts costs(plan, profile);
    double lanes_s = 0;
    step_program(plan.stages[0], StepMode::kTrain, false).for_each([&](const Command& command) {
      if (command.kind == CommandKind::kEnqueue) lanes_s += costs.collective_s(0, command.node);
    });
    ASSERT_GT(lanes_s, 1e-3) << flags;
    const Simulation shared = simulate(plan, profile);
    EXPECT_NEAR(shared.step_s, compute_s(plan, profile, 0) + lanes_s, 1e-6) << flags;
    EXPECT_NEAR(shared.mean[EventKind::kCommTp] + shared.mean[EventKind::kCommDp], lanes_s, 1e-6) << flags;
    profile.cpu.cores = 4;
    const Simulation beside = simulate(plan, profile);
    EXPECT_LE(beside.step_s, compute_s(plan, profile, 0) + lanes_s + 1e-9) << flags;
    if (plan.config.mesh.dp > 1) {
      EXPECT_LT(beside.step_s, compute_s(plan, profile, 0) + lanes_s - 1e-5) << flags;
    }
  }
}

TEST(CpuSimulation, PostsWakeUpsAndMessagesCostTheRank) {
  const Plan plan = plan_of(std::string(kOneThread) + "--ranks 2 --pp 2");
  Profile profile = four_core_profile();
  const double base = simulate(plan, profile).step_s;
  for (const char* slower : {"cpu.post_us=200", "cpu.wake_us=300", "cpu.busy_slowdown=2"}) {
    Profile other = profile;
    set_values(other, std::vector<std::string>{slower});
    EXPECT_GT(simulate(plan, other).step_s, base + 1e-5) << slower;
  }
  Profile slow = profile;
  for (auto& transfer : slow.cpu.transfers)
    for (auto& point : transfer.points) point.us *= 10;
  EXPECT_GT(simulate(plan, slow).step_s, base);
  EXPECT_TRUE(simulate(plan, profile).trace == simulate(plan, profile).trace);
}

// wake_us is the whole way to a lane and back, the posting in it: a collective that is waited for at once costs no more.
TEST(CpuSimulation, HandingOverIsCountedOnce) {
  const Plan plan = plan_of(std::string(kOneThread) + "--ranks 2 --tp 2");
  for (const double cores : {2.0, 16.0}) {
    Profile profile = four_core_profile();
    profile.cpu.cores = cores;
    const double free_s = simulate(plan, profile).step_s;
    profile.cpu.wake_us = 20, profile.cpu.post_us = 7;
    int64_t handed_over = 0;
    step_program(plan.stages[0], StepMode::kTrain, false).for_each([&](const Command& command) {
      handed_over += command.kind == CommandKind::kEnqueue;
    });
    const double each_us = 1e6 * (simulate(plan, profile).step_s - free_s) / static_cast<double>(handed_over);
    EXPECT_GT(each_us, 10) << cores;
    EXPECT_LT(each_us, 20.01) << cores;
  }
}

// Ranks that outnumber the cores share them for kernels, but sleep at emulated links.
TEST(CpuSimulation, EmulatedLinksNeedNoCores) {
  const Plan plan = plan_of(std::string(kOneThread) + "--ranks 4 --tp 2");
  const Profile gpus = load_profile("rtx4090");
  Profile few = four_core_profile(), many = few;
  few.cpu.cores = 2, many.cpu.cores = 16;
  const SimulationOptions options{.links = EmulatedCluster{&gpus, 1e5}};
  const double wanted_s = simulate(plan, many, options).step_s;
  EXPECT_GT(wanted_s, 10 * compute_s(plan, many, 0));
  EXPECT_NEAR(simulate(plan, few, options).step_s, wanted_s, 0.1 * wanted_s);
}

TEST(CpuSimulation, AllSchedulesSumToTheirStep) {
  for (const char* flags : {"--pp 2 --schedule gpipe", "--pp 2", "--pp 2 --vpp 2 --schedule interleaved",
                            "--pp 2 --schedule zero-bubble", "--pp 2 --recompute full",
                            "--pp 2 --tp 2 --tie-embeddings on", "--tp 2 --pp 1 --sp off"}) {
    for (const double cores : {4.0, 16.0}) {
      Profile profile = four_core_profile();
      profile.cpu.cores = cores;
      const Simulation s = simulate(plan_of(std::string(kOneThread) + "--ranks 4 " + flags), profile);
      EXPECT_NEAR(s.mean.step_s, s.step_s, 1e-6 * s.step_s) << flags;
      EXPECT_FALSE(s.oversubscribed);
      profile.cpu.post_us = 7, profile.cpu.wake_us = 20;
      const Plan plan = plan_of(std::string(kOneThread) + "--ranks 4 " + flags);
      const Simulation by_node = simulate(plan, profile, {{}, Detail::kNode}),
                       by_action = simulate(plan, profile, {{}, Detail::kAction});
      EXPECT_NEAR(by_action.step_s, by_node.step_s, 1e-9 * by_node.step_s) << flags;
      for (int k = 0; k < kNumEventKinds; ++k)
        EXPECT_NEAR(by_action.mean.seconds[static_cast<size_t>(k)], by_node.mean.seconds[static_cast<size_t>(k)],
                    1e-4 * by_node.step_s)
            << flags << ": " << name(static_cast<EventKind>(k));
    }
  }
}

TEST(CpuPrediction, TakesDeviceAndThreadsFromTheFile) {
  const testing::ScratchFolder scratch;
  const std::string file = (scratch / "measured.json").string();
  std::ofstream(file) << four_cores();
  const Plan plan = plan_of("--ranks 2 --tp 2 --cluster " + file);
  EXPECT_EQ(plan.config.device, DeviceKind::kCpu);
  EXPECT_EQ(plan.config.threads, 2);
  const Prediction p = predict(plan);
  EXPECT_TRUE(p.fits);
  EXPECT_EQ(prediction_json(p)["certainty"]["class"], "unseen");  // two threads were not measured
  testing::expect_error(ExitCode::kConfig, {"is a cluster of CPUs", "--device is cuda"},
                        [&] { predict(plan_of("--ranks 2 --device cuda --cluster " + file)); });
  testing::expect_error(ExitCode::kConfig, {"is a cluster of GPUs", "--device is cpu"},
                        [&] { predict(plan_of("--ranks 2 --device cpu --cluster rtx4090")); });
}

// The cores are the bottleneck, and nobody knows who waits for whom.
TEST(CpuPrediction, MoreRanksThanCoresAreLabelled) {
  const testing::ScratchFolder scratch;
  const std::string file = (scratch / "measured.json").string();
  nlohmann::json two = four_cores();
  two["cpu"]["cores"] = 2;
  two["cpu"]["stream_all_gb_per_s"] = 20;
  std::ofstream(file) << two;
  const std::string flags = "--tp 2 --threads 1 --cluster " + file;
  const Prediction own = predict(plan_of("--ranks 2 " + flags)), many = predict(plan_of("--ranks 8 " + flags));
  EXPECT_FALSE(prediction_json(own)["mean"].is_null());
  const auto json = prediction_json(many);
  EXPECT_TRUE(json["mean"].is_null());
  EXPECT_EQ(json["certainty"]["class"], "oversubscribed");
  EXPECT_THAT(prediction_text(many), ::testing::HasSubstr("more threads than cores"));
  // Eight ranks on two cores have the same work to do.
  EXPECT_GE(many.simulation.step_s, own.simulation.step_s * 0.95);
}

}  // namespace
}  // namespace trine
