#include "analysis/simulator.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <sstream>

#include "analysis/prediction_report.h"
#include "analysis/simulated_costs.h"
#include "base/error.h"
#include "cluster/topology.h"
#include "plan/config/flags.h"
#include "tests/data/scratch.h"
#include "trace/trace_reader.h"

namespace trine {
namespace {

Plan plan_of(const std::string& flags) {
  std::istringstream words("train_llama --dry-run --device cuda " + flags);
  std::vector<std::string> args(std::istream_iterator<std::string>(words), {});
  std::vector<const char*> argv;
  for (const std::string& arg : args) argv.push_back(arg.c_str());
  return build_plan(std::get<Config>(parse_train_flags(static_cast<int>(argv.size()), argv.data(), {}, "")));
}

// Layers alone count: the head is narrow.
constexpr const char* kModel =
    "--hidden 2048 --heads 16 --kv-heads 16 --head-dim 128 --ffn 5504 --vocab 32 --seq 1024 "
    "--micro-batch 1 --dtype bf16 ";

// Links that cost nothing, and kernels that start by themselves.
Profile free_links() {
  Profile profile = load_profile("article-a100");
  for (const char* change : {"host.nvlink_gb_per_s=1000", "network.nic_gb_per_s=200", "network.nics=1024",
                             "network.latency_us=0", "device.multiprocessors=1", "device.link_gb_per_s=130",
                             "host.devices=1024", "host.devices_per_socket=1024", "host.nvlink_devices=1024"})
    set_values(profile, std::vector<std::string>{change});
  profile.host.nvlink_gb_per_s = 1e12;
  return profile;
}

double share(const Simulation& s, EventKind kind) { return s.mean[kind] / s.step_s; }

// Narayanan et al., SC'21, section 2.2: (p - 1) / (v m + p - 1) of the time of ranks is bubble. Zero-bubble H1 (Qi
// et al. 2023): a third of it is left, as F, I and W take as long;
// here W has no attention, so between a third and all.
TEST(Simulator, UniformStagesAndFreeLinksGiveTheIdealBubble) {
  const Profile profile = free_links();
  for (const auto& [schedule, v] :
       {std::pair{"--schedule gpipe", 1}, {"--schedule 1f1b", 1}, {"--schedule interleaved --vpp 2", 2}}) {
    const int pp = 4, m = 8;
    const Simulation s = simulate(
        plan_of(fmt::format("{} --layers 8 --ranks 4 --pp 4 --global-batch 8 {}", kModel, schedule)), profile);
    const double ideal = static_cast<double>(pp - 1) / (v * m + pp - 1);
    const double bubble = s.mean[EventKind::kBubble];
    EXPECT_NEAR(bubble / (bubble + s.mean[EventKind::kCompute]), ideal, 0.01) << schedule;
  }
  const Simulation zero =
      simulate(plan_of(std::string(kModel) + "--layers 8 --ranks 4 --pp 4 --global-batch 8 --schedule zero-bubble"),
               profile);
  EXPECT_LT(share(zero, EventKind::kBubble), 3.0 / 11 * 0.7);
}

TEST(Simulator, CategoriesSumToTheStep) {
  for (const char* flags :
       {"--layers 4 --ranks 1 --global-batch 4",
        "--layers 8 --ranks 16 --tp 2 --pp 4 --global-batch 16 --recompute full",
        "--layers 8 --ranks 8 --pp 2 --vpp 2 --schedule interleaved --global-batch 16 --tp 2 --zero 1",
        "--layers 8 --ranks 4 --pp 4 --global-batch 8 --tie-embeddings on"}) {
    const Simulation s = simulate(plan_of(std::string(kModel) + flags), load_profile("rtx4090"));
    EXPECT_NEAR(s.mean.step_s, s.step_s, 1e-6 * s.step_s) << flags;
    EXPECT_GT(s.step_s, 0);
    for (const RankTrace& rank : s.trace.ranks) EXPECT_NEAR(account(rank.steps[0]).step_s, s.step_s, 1e-6) << flags;
  }
}

TEST(Simulator, IsMonotoneAndRepeats) {
  const Plan plan = plan_of(std::string(kModel) + "--layers 8 --ranks 16 --tp 2 --pp 4 --global-batch 32");
  const Profile profile = load_profile("rtx4090");
  const double base = simulate(plan, profile).step_s;
  EXPECT_EQ(simulate(plan, profile).step_s, base);
  EXPECT_TRUE(simulate(plan, profile).trace == simulate(plan, profile).trace);
  for (const char* better : {"device.link_gb_per_s=40", "device.peak_tflops.bf16=400", "network.nic_gb_per_s=50",
                             "device.memory_gb_per_s=2000", "device.launch_us=1", "host.peer_access=1"}) {
    Profile other = profile;
    set_values(other, std::vector<std::string>{better});
    EXPECT_LE(simulate(plan, other).step_s, base * (1 + 1e-9)) << better;
  }
  // Work on twice the replicas is not done in less than half the time.
  const Plan twice = plan_of(std::string(kModel) + "--layers 8 --ranks 32 --tp 2 --pp 4 --global-batch 32");
  EXPECT_GE(simulate(twice, profile).step_s, base / 2);
  EXPECT_LT(simulate(twice, profile).step_s, base);
}

int64_t num_launches(const StagePlan& stage, std::set<CommandKind> kinds, std::set<Region> regions) {
  int64_t num = 0;
  step_program(stage, StepMode::kTrain, /*device_to_device=*/true).for_each([&](const Command& command) {
    num += kinds.contains(command.kind) && command.node >= 0 &&
           regions.contains(stage.graph[NodeId{command.node}].region);
  });
  return num;
}

// One after another: what the kernels take with links that cost nothing, and what the links take.
TEST(Simulator, SerialCollectivesHideBehindNothing) {
  const Plan plan = plan_of(std::string(kModel) + "--layers 2 --ranks 4 --tp 2 --zero 0 --sp off --global-batch 4");
  Profile profile = load_profile("a100-80-sxm");
  const Simulation together = simulate(plan, profile);
  EXPECT_GT(together.mean.hidden(Axis::kTp), 0);
  profile.device.serial_collectives = 1;
  const Simulation tp = simulate(plan, profile);
  EXPECT_EQ(tp.mean.hidden(Axis::kTp), 0);
  // Beside the gradients' collectives they take longer.
  const Simulation alone =
      simulate(plan_of(std::string(kModel) + "--layers 2 --ranks 2 --tp 2 --zero 0 --sp off --global-batch 2"),
               load_profile("a100-80-sxm"));
  EXPECT_NEAR(tp.mean[EventKind::kCommTp], alone.mean[EventKind::kCommTp] + alone.mean.hidden(Axis::kTp),
              1e-3 * tp.step_s);
  EXPECT_GT(together.mean[EventKind::kCommTp] + together.mean.hidden(Axis::kTp), tp.mean[EventKind::kCommTp]);
  EXPECT_GT(tp.mean.hidden(Axis::kDp), 0);
  profile.device.serial_collectives = 2;
  const Simulation all = simulate(plan, profile);
  EXPECT_EQ(all.mean.hidden(Axis::kDp), 0);
  EXPECT_GT(all.step_s, tp.step_s);
}

// With CUDA_LAUNCH_BLOCKING=1 kernels and launches take their time one after another.
TEST(Simulator, AHostThatWaitsAtEachKernelAddsItsTime) {
  const Plan plan = plan_of(std::string(kModel) + "--layers 2 --ranks 1 --global-batch 2");
  Profile profile = load_profile("a100-80-sxm");
  profile.device.host_us = 0;
  const double kernels = simulate(plan, profile).step_s;
  profile.device.host_us = 20;
  EXPECT_LT(simulate(plan, profile).step_s, 1.1 * kernels);  // it launches ahead
  profile.device.host_waits = 2;
  const int64_t launches = num_launches(plan.stages[0], {CommandKind::kRun},
                                        {Region::kPrologue, Region::kMicrobatch, Region::kEpilogue});
  EXPECT_NEAR(simulate(plan, profile).step_s, kernels + static_cast<double>(launches) * 20e-6, 1e-9);
}

// Where launches take all the time, a stage that waits for its message launches what follows after it has come; one
// that launches ahead has launched it by then.
TEST(Simulator, AHostThatWaitsForMessagesLaunchesNothingMeanwhile) {
  const Plan plan = plan_of(std::string(kModel) + "--layers 4 --ranks 2 --pp 2 --global-batch 1");
  Profile profile = free_links();
  profile.device.host_us = 1000;
  const double ahead = simulate(plan, profile).step_s;
  profile.device.host_waits = 1;
  const Simulation waiting = simulate(plan, profile);
  // Forward of the first stage, all of the second, backward of the first: no launch of a microbatch beside another.
  const std::set<CommandKind> kinds = {CommandKind::kRun, CommandKind::kPostSend, CommandKind::kPostReceive};
  const auto of = [&](size_t pp) {
    return static_cast<double>(num_launches(plan.stages[pp], kinds, {Region::kMicrobatch})) * 1e-3;
  };
  const double in_turn = of(0) + of(1);
  EXPECT_GT(waiting.step_s, in_turn);
  EXPECT_LT(waiting.step_s, 1.15 * in_turn);  // and the prologue and epilogue
  EXPECT_LT(ahead, 0.75 * in_turn);
  EXPECT_NEAR(waiting.mean.step_s, waiting.step_s, 1e-6 * waiting.step_s);
  // Walked by action it is the same.
  EXPECT_NEAR(simulate(plan, profile, {.slow = {}, .detail = Detail::kAction}).step_s, waiting.step_s, 1e-9);
}

// A host that waits after each pass launches each microbatch as the first; one that does not launches a pass while the
// head's products of the one before still run.
TEST(Simulator, AHostThatWaitsAfterEachPassLaunchesNothingAhead) {
  const auto plan = [](int batch) {
    return plan_of(fmt::format("{} --layers 2 --ranks 1 --vocab 50304 --global-batch {}", kModel, batch));
  };
  Profile profile = load_profile("a100-80-sxm");
  profile.device.host_us = 100;
  const double ahead = simulate(plan(8), profile).step_s;
  profile.device.host_waits = 1;
  const double two = simulate(plan(2), profile).step_s, four = simulate(plan(4), profile).step_s,
               eight = simulate(plan(8), profile).step_s;
  EXPECT_GT(eight, 1.05 * ahead);
  EXPECT_NEAR(eight - four, 2 * (four - two), 1e-9);
  EXPECT_NEAR(simulate(plan(8), profile, {.slow = {}, .detail = Detail::kAction}).step_s, eight, 1e-9);
}

// Gradients that lie in one buffer are summed at the rate of one long all-reduce.
TEST(Simulator, GradientsOfOtherProgramsAreSummedAsOne) {
  const Plan plan = plan_of(std::string(kModel) + "--layers 2 --ranks 8 --zero 0 --global-batch 8");
  Profile profile = load_profile("a100-80-sxm");
  const auto of_gradients = [&] {
    double seconds = 0, bytes = 0;
    SimulatedCosts costs(plan, profile);
    const Graph& graph = plan.stages[0].graph;
    for (int n = 0; n < static_cast<int>(graph.nodes().size()); ++n)
      if (const Node& node = graph[NodeId{n}]; node.lane == Lane::kDp && node.scope == "gradients")
        seconds += costs.collective_s(0, n), bytes += size_of(graph, node).bytes;
    return std::pair(seconds, bytes);
  };
  const auto [one_by_one, bytes] = of_gradients();
  profile.device.serial_collectives = 2;
  Topology topology(profile);
  const std::vector<int> ranks = {0, 1, 2, 3, 4, 5, 6, 7};
  const Transfer whole = topology.collective(CollectiveOp::kAllReduce, bytes, ranks);
  EXPECT_NEAR(of_gradients().first, whole.latency_s + whole.bytes / topology.links().rate_alone(whole.uses), 1e-9);
  EXPECT_GT(one_by_one, 1.1 * of_gradients().first);
}

// A rank's part of a weight lies in the weight: taking it launches no kernel (kernels/cuda/collective.cpp).
TEST(Simulator, APartThatLiesInTheWholeCostsNothing) {
  const Plan plan = plan_of(std::string(kModel) + "--layers 2 --ranks 2 --tp 2 --global-batch 2");
  const SimulatedCosts costs(plan, load_profile("rtx4090"));
  const Graph& graph = plan.stages[0].graph;
  int parts = 0;
  for (int n = 0; n < static_cast<int>(graph.nodes().size()); ++n) {
    const Node& node = graph[NodeId{n}];
    if (node.scope != "adamw" || node.op->name() != "enter") continue;
    ++parts;
    EXPECT_EQ(costs.node(0, n).seconds, 0) << n;
    EXPECT_EQ(costs.node(0, n).launches, 0) << n;
  }
  EXPECT_GT(parts, 0);
}

// 64 MB that four ranks hold as one: a quarter each crosses 10 GB/s, then each gathers three quarters over 20 GB/s.
TEST(Simulator, MessagesSentInPartsAreGatheredBehind) {
  const Plan plan = plan_of(std::string(kModel) + "--layers 4 --ranks 8 --tp 4 --pp 2 --sp off --global-batch 1");
  Profile profile = load_profile("article-a100");
  profile.host.devices = profile.host.devices_per_socket = profile.host.nvlink_devices = 4;
  profile.host.nvlink_gb_per_s = 20;
  profile.network = {.nics = 1, .nic_gb_per_s = 10, .latency_us = 0, .oversubscription = 1};
  profile.device.link_gb_per_s = 1000;
  EXPECT_NEAR(SimulatedCosts(plan, profile).activation(0, 1, 64'000'000).seconds_alone(), 4 * 64e6 / 10e9, 1e-6);
  profile.device.scattered_messages = 1;
  EXPECT_NEAR(SimulatedCosts(plan, profile).activation(0, 1, 64'000'000).seconds_alone(), 64e6 / 10e9 + 48e6 / 20e9,
              1e-6);
}

TEST(Simulator, ASlowRankHoldsUpItsPipeline) {
  const Plan plan = plan_of(std::string(kModel) + "--layers 8 --ranks 8 --tp 2 --pp 4 --global-batch 32");
  const Profile profile = load_profile("a100-80-sxm");
  const Simulation even = simulate(plan, profile), slow = simulate(plan, profile, {{{3, 2.0}}});  // of pp 1
  EXPECT_GT(slow.step_s, 1.4 * even.step_s);
  EXPECT_LT(slow.step_s, 2.01 * even.step_s);
  EXPECT_GT(share(slow, EventKind::kBubble), share(even, EventKind::kBubble) + 0.1);
}

// A message begins when its receiver is ready too, and a slot is free again when it has arrived: a stage that is
// followed by a slow one cannot run ahead by more than its slots and the receive that is posted ahead.
TEST(Simulator, AStageCannotRunAheadOfASlowOne) {
  const Plan plan = plan_of(std::string(kModel) + "--layers 4 --ranks 2 --pp 2 --schedule gpipe --global-batch 8");
  const Simulation s = simulate(plan, load_profile("a100-80-sxm"), {{{1, 4.0}}});
  // By microbatch, when its forward began and ended.
  const auto forwards = [&](size_t pp) {
    std::vector<std::pair<int64_t, int64_t>> times(8, {INT64_MAX, 0});
    const RankTrace& rank = s.trace.ranks[pp];
    for (const TraceEvent& event : rank.steps[0].events)
      if (event.lane == Lane::kCompute && event.microbatch >= 0 && s.trace.label(rank, event)->phase == "F") {
        auto& [begin, end] = times[static_cast<size_t>(event.microbatch)];
        begin = std::min(begin, event.t0_ns), end = std::max(end, event.t1_ns);
      }
    return times;
  };
  const auto first = forwards(0), second = forwards(1);
  for (size_t m = 4; m < 8; ++m) EXPECT_GE(first[m].second, second[m - 4].second) << m;
}

// One microbatch through two stages: each message adds its time twice, up and down.
TEST(Simulator, MessagesAddTheirTime) {
  const Plan plan = plan_of(std::string(kModel) + "--layers 4 --ranks 2 --pp 2 --global-batch 1");
  Profile quick = free_links(), slow = quick;
  slow.host.nvlink_gb_per_s = 0.01;
  SimulatedCosts costs(plan, slow);
  int64_t bytes = 0;
  for (size_t n = 0; n < plan.stages[0].graph.nodes().size(); ++n)
    bytes = std::max(bytes, costs.node(0, static_cast<int>(n)).message_bytes);
  EXPECT_EQ(bytes, 1024 * 2048 * 2);
  const double message = costs.message_s(0, 1, bytes);
  EXPECT_NEAR(message, static_cast<double>(bytes) / 0.01e9, 1e-6);
  // Beside the two messages only the norm's few bytes cross.
  EXPECT_NEAR(simulate(plan, slow).step_s - simulate(plan, quick).step_s, 2 * message, 0.01 * message);
}

// Where pipeline ranks share links, nothing repeats.
void expect_same(const Simulation& by_action, const Simulation& by_node, const std::string& what, bool repeats) {
  const double step_s = by_node.step_s;
  EXPECT_NEAR(by_action.step_s, step_s, 1e-9 * step_s) << what;
  size_t action_events = 0, node_events = 0;
  for (const RankTrace& rank : by_action.trace.ranks) action_events += rank.steps[0].events.size();
  for (const RankTrace& rank : by_node.trace.ranks) node_events += rank.steps[0].events.size();
  EXPECT_EQ(action_events < node_events, repeats) << what;
  for (int k = 0; k < kNumEventKinds; ++k) {
    const auto kind = static_cast<EventKind>(k);
    EXPECT_NEAR(by_action.mean[kind], by_node.mean[kind], 1e-5 * step_s) << what << ": " << name(kind);
  }
  for (const Axis axis : kAxes)
    EXPECT_NEAR(by_action.mean.hidden(axis), by_node.mean.hidden(axis), 1e-5 * step_s)
        << what << ": " << name(axis);
}

// What repeats is simulated once and takes the same: the step and all categories of it.
TEST(Simulator, ActionsTakeWhatTheirNodesTake) {
  const std::string whole = std::string(kModel) + "--layers 8 --global-batch 32 ";
  for (const char* flags :
       {"--ranks 1", "--ranks 8 --tp 2 --pp 4 --schedule gpipe", "--ranks 16 --tp 2 --pp 4 --recompute full",
        "--ranks 8 --tp 2 --pp 2 --vpp 2 --schedule interleaved --recompute selective",
        "--ranks 8 --pp 4 --schedule zero-bubble --tie-embeddings on", "--ranks 8 --tp 8 --sp off",
        "--ranks 16 --tp 4 --zero 0"})
    for (const char* host : {"device.host_us=1", "device.host_us=60", "device.host_us=400"}) {
      Profile profile = load_profile("rtx4090");
      set_values(profile, std::vector<std::string>{host});
      const Plan plan = plan_of(whole + flags);
      expect_same(simulate(plan, profile, {{}, Detail::kAction}), simulate(plan, profile, {{}, Detail::kNode}),
                  std::string(flags) + " " + host, plan.config.mesh.tp == 1 || plan.config.mesh.pp == 1);
    }
  const Plan plan = plan_of(whole + "--ranks 8 --tp 2 --pp 4");
  const Profile profile = load_profile("a100-80-sxm");
  expect_same(simulate(plan, profile, {{{3, 2.0}}, Detail::kAction}),
              simulate(plan, profile, {{{3, 2.0}}, Detail::kNode}), "a slow rank", false);
}

// The order is that of the commands that the executor carries out.
TEST(Simulator, RunsTheNodesOfTheStepProgram) {
  for (const char* flags : {"--pp 2 --schedule gpipe", "--pp 2", "--pp 2 --vpp 2 --schedule interleaved",
                            "--pp 2 --schedule zero-bubble", "--pp 2 --tp 2", "--pp 1"}) {
    const Plan plan = plan_of(std::string(kModel) + "--layers 4 --ranks 4 --global-batch 8 " + flags);
    const Simulation s = simulate(plan, load_profile("rtx4090"));
    for (size_t pp = 0; pp < plan.stages.size(); ++pp) {
      std::vector<std::pair<int, int>> ran, commands;
      for (const TraceEvent& event : s.trace.ranks[pp].steps[0].events)
        if (event.lane == Lane::kCompute) ran.emplace_back(event.node, event.microbatch);
      step_program(plan.stages[pp], StepMode::kTrain, true).for_each([&](const Command& command) {
        if (command.kind == CommandKind::kRun) commands.emplace_back(command.node, command.microbatch);
      });
      EXPECT_EQ(ran, commands) << flags;
    }
  }
}

// All dp groups of a stage are under way at once: where tp 4 gives each host four of them,
// each has a quarter of its NIC.
TEST(Simulator, GroupsOfAHostShareIt) {
  const auto reduction_s = [](const char* flags) {
    const Plan plan = plan_of(std::string(kModel) + flags);
    Profile profile = load_profile("article-a100");  // no latency
    set_values(profile,
               std::vector<std::string>{"host.devices=4", "host.devices_per_socket=4", "host.nvlink_devices=4",
                                        "network.nics=1", "network.latency_us=0"});
    SimulatedCosts costs(plan, profile);
    const Graph& graph = plan.stages[0].graph;
    double most = 0, bytes = 0;
    for (size_t n = 0; n < graph.nodes().size(); ++n)
      if (graph.nodes()[n].lane == Lane::kDp) {
        const double seconds = costs.collective_s(0, static_cast<int>(n));
        if (seconds > most)
          most = seconds, bytes = static_cast<double>(costs.node(0, static_cast<int>(n)).wire_bytes);
      }
    return most / bytes;
  };
  // Seconds for a byte that a rank sends to the other host.
  const double nic = 25e9;
  EXPECT_NEAR(reduction_s("--layers 4 --ranks 8 --tp 4 --global-batch 8 --zero 1") * nic, 4, 0.01);
}

TEST(Prediction, SaysWhatItKnows) {
  const Plan plan = plan_of(
      "--model llama2-70b --ranks 2048 --tp 2 --pp 16 --vpp 5 --schedule interleaved --recompute full "
      "--global-batch 1024 --cluster rtx4090 --set device.memory_gib=12");
  const Prediction p = predict(plan);
  const auto json = nlohmann::json::parse(prediction_json(p).dump());
  EXPECT_FALSE(json["fits"]);
  EXPECT_EQ(json["cluster"], "rtx4090");
  double sum = 0;
  for (const auto& [kind, seconds] : json["mean"].items()) sum += seconds.get<double>();
  EXPECT_NEAR(sum, json["step_s"].get<double>(), 1e-6 * sum);
  EXPECT_LT(json["certainty"]["low_s"], json["step_s"]);
  EXPECT_GT(json["certainty"]["high_s"], json["step_s"]);
  EXPECT_NEAR(json["mfu"].get<double>(), 0.3, 0.15);
  EXPECT_THAT(prediction_text(p),
              ::testing::AllOf(::testing::HasSubstr("does not fit"), ::testing::HasSubstr("rtx4090")));
}

// A predicted trace is read like a measured one.
TEST(Prediction, ItsTraceIsWrittenAsARunWritesIt) {
  const testing::ScratchFolder scratch;
  const Plan plan =
      plan_of(std::string(kModel) + "--layers 4 --ranks 8 --pp 2 --tp 2 --global-batch 8 --cluster rtx4090");
  const Prediction prediction = predict(plan);
  write_predicted_trace(plan, prediction, (scratch / "trace").string());
  testing::expect_error(ExitCode::kConfig, {"is not empty"},
                        [&] { write_predicted_trace(plan, prediction, (scratch / "trace").string()); });
  const Trace read = read_trace(scratch / "trace");
  ASSERT_EQ(read.ranks.size(), 8u);
  for (const RankTrace& rank : read.ranks) {
    EXPECT_EQ(rank.coordinate, plan.config.mesh.coordinate(rank.rank));
    const StepBreakdown own = account(rank.steps[0]),
                        predicted = account(
                            prediction.simulation.trace.ranks[static_cast<size_t>(rank.coordinate.pp)].steps[0]);
    for (int kind = 0; kind < kNumEventKinds; ++kind)
      EXPECT_NEAR(own.seconds[static_cast<size_t>(kind)], predicted.seconds[static_cast<size_t>(kind)], 1e-6)
          << rank.rank;
  }
}

TEST(Prediction, SlowRanksAreChecked) {
  Config config;
  config.mesh = {.pp = 2};
  config.slow_ranks = {"1:1.5"};
  EXPECT_EQ(slow_ranks_of(config).at(1), 1.5);
  for (const char* wrong : {"1", "1:", ":2", "2:1.5", "0:0.5", "a:b", "-1:2"}) {
    config.slow_ranks = {wrong};
    testing::expect_error(ExitCode::kConfig, {"--slow"}, [&] { slow_ranks_of(config); });
  }
}

}  // namespace
}  // namespace trine
