// Training by recorded kernels gives the bits of the CPU on a device that records closures: whatever differs between
// two runs of the same kernels is in the device's memory, or makes another recording.
#include "runtime/step/kernel_graphs.h"

#include <gmock/gmock.h>

#include "data/sampler.h"
#include "plan/plan.h"
#include "runtime/step/executor.h"
#include "tests/runtime/async_backend.h"
#include "tests/runtime/local_training.h"

namespace trine {
namespace {

using testing::HasSubstr;

constexpr const char* kModel =
    "--layers 3 --hidden 16 --heads 4 --kv-heads 2 --head-dim 4 --ffn 22 --vocab 67 --seq 7 --global-batch 12 "
    "--micro-batch 1 --steps 6 --threads 1 --dtype bf16 --device cuda --cuda-graphs on ";
constexpr int kSteps = 5;

// As the flags say, but planned for the CPU's kernels, which the device runs.
Config config_for(int ranks, const std::string& flags) {
  Config config = config_of(ranks, kModel + flags);
  config.device = DeviceKind::kCpu;
  return config;
}

// Learning rate and samples differ from step to step, so that a number that was recorded shows.
BatchSource changing_batches(const Config& config) {
  return [batches = random_batches(config)](int step) {
    Batch batch = batches(step);
    batch.lr = 1e-3f / static_cast<float>(step + 1);
    return batch;
  };
}

struct Layout {
  std::string name;
  int ranks = 1;
  std::string flags;
};
const std::vector<Layout>& layouts() {
  static const std::vector<Layout> list = {
      {"one", 1, ""},
      {"one_tied_recompute", 1, "--tie-embeddings on --recompute full"},
      {"tp2_sp", 2, "--tp 2 --sp on"},
      {"dp2_zero", 2, "--zero 1 --grad-reduce bf16"},
      {"pp2", 2, "--pp 2"},
      {"pp2_zero_bubble", 2, "--pp 2 --schedule zero-bubble"},
      {"pp2_interleaved", 2, "--pp 2 --schedule interleaved --vpp 2 --layers 5"},
      {"tp2_pp2_dp2", 8, "--tp 2 --pp 2 --sp on --zero 1"}};
  return list;
}

class KernelGraphsTest : public testing::TestWithParam<size_t> {
 protected:
  void expect_same(bool on_device) {
    const Layout& layout = layouts()[GetParam()];
    const Config config = config_for(layout.ranks, layout.flags);
    const auto batches = changing_batches(config);
    const TrainingRun expected = train_locally(config, kSteps, batches);
    std::vector<AsyncSeen> seen(static_cast<size_t>(layout.ranks));
    const TrainingRun run = train_locally(config, kSteps, batches, {}, [&](CommWorld& world, const Config& c) {
      AsyncSeen& own = seen[static_cast<size_t>(c.mesh.rank(world.coordinate()))];
      return RankDevice{make_async_backend(c.threads, {.loads_late = on_device, .records = true, .seen = &own}),
                        on_device ? make_async_world(world) : nullptr};
    });
    EXPECT_EQ(run.losses, expected.losses);
    EXPECT_EQ(run.norms, expected.norms);
    EXPECT_TRUE(run.masters == expected.masters);
    for (const AsyncSeen& own : seen) {
      EXPECT_GT(own.kernels_recorded, 20);
      EXPECT_GT(own.replays, 3 * kSteps);
    }
  }
};

TEST_P(KernelGraphsTest, StagedThroughTheHostTrainsTheBitsOfTheCpu) { expect_same(false); }
TEST_P(KernelGraphsTest, FromDeviceToDeviceTrainsTheBitsOfTheCpu) { expect_same(true); }

INSTANTIATE_TEST_SUITE_P(Layouts, KernelGraphsTest, testing::Range(size_t{0}, layouts().size()),
                         [](const auto& param) { return layouts()[param.param].name; });

// One rank on a device that records, step by step.
class OneRankGraphs : public testing::Test {
 protected:
  void make(const std::string& flags, AsyncOptions options) {
    config_ = config_for(1, flags);
    plan_ = build_plan(config_);
    options.records = true, options.seen = &seen_;
    backend_ = make_async_backend(1, options);
    executor_ = std::make_unique<Executor>(plan_.stages[0], config_, Coordinate{}, *backend_, trace_);
    set_parameters(*executor_, initial_values(plan_.stages[0].graph, 1), 1);
  }
  // The loss; counts what this step alone did.
  double step(int number) {
    seen_.reset();
    const Batch batch = changing_batches(config_)(number);
    return executor_->train_step({.ids = batch.ids, .labels = batch.labels, .lr = batch.lr}, number).loss;
  }

  Config config_;
  Plan plan_;
  AsyncSeen seen_;
  TraceRecorder trace_{1 << 14};
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Executor> executor_;
};

TEST_F(OneRankGraphs, TheFirstStepRunsNodeByNodeAndTheNextOnesReplay) {
  make("", {});
  step(1);
  EXPECT_EQ(seen_.kernels_recorded, 0);
  EXPECT_EQ(seen_.replays, 0);
  const int one_by_one = seen_.kernels_enqueued;
  step(2);
  EXPECT_GT(seen_.kernels_recorded, 0);
  EXPECT_THAT(executor_->graphs().take_news().info, HasSubstr("kernels recorded"));
  // Of each of 12 microbatches: forward in two, for it takes the labels in between, and backward; and the epilogue.
  EXPECT_EQ(seen_.replays, 12 * 3 + 1);
  EXPECT_LT(seen_.kernels_enqueued, one_by_one / 10);
  for (int number = 3; number <= 5; ++number) {
    step(number);
    EXPECT_EQ(seen_.kernels_recorded, 0);
    EXPECT_EQ(seen_.replays, 12 * 3 + 1);
  }
  EXPECT_EQ(executor_->graphs().take_news().info, "");
}

// Prologue and take_microbatch are given what the recordings are not.
TEST_F(OneRankGraphs, WhatTheHostGivesIsNeverRecorded) {
  make("", {});
  const StepProgram program(plan_.stages[0].graph, plan_.stages[0].schedule, StepMode::kTrain, false,
                            &plan_.stages[0].memory);
  int left_out = 0, taken = 0;
  program.for_each([&](const Command& command) {
    if (command.kind != CommandKind::kRun) return;
    const Node& node = plan_.stages[0].graph.nodes()[static_cast<size_t>(command.node)];
    const bool from_host = node.region == Region::kPrologue || node.op->name() == "take_microbatch";
    EXPECT_EQ(executor_->graphs().takes(command), !from_host) << node.op->name();
    ++(from_host ? left_out : taken);
  });
  EXPECT_GT(left_out, 12);
  EXPECT_GT(taken, 100);
}

// Validation replays what training has recorded, and records nothing that training has not.
TEST_F(OneRankGraphs, ValidationAndTheSearchForNonFiniteValuesGiveTheSameNumbers) {
  make("", {});
  for (int number = 1; number <= 3; ++number) step(number);
  const Batch batch = random_batches(config_)(9);
  const HostStep host{.ids = batch.ids, .labels = batch.labels};
  seen_.reset();
  const double replayed = executor_->evaluate(host, 0).loss;
  EXPECT_EQ(seen_.replays, 12 * 2);
  seen_.reset();
  EXPECT_FALSE(executor_->find_non_finite(host, 4));
  EXPECT_EQ(seen_.replays, 0) << "each node is looked at";
  config_.kernels.graphs = GraphKind::kOff;
  Executor plain(plan_.stages[0], config_, Coordinate{}, *backend_, trace_);
  const auto masters = executor_->arena();
  backend_->write(masters, plain.arena().data());
  EXPECT_EQ(plain.evaluate(host, 0).loss, replayed);
}

TEST_F(OneRankGraphs, EventsOfAReplayAreSharesOfItsTime) {
  make("", {});
  step(1), step(2);
  const auto alone = trace_.step(1), replayed = trace_.step(2);
  ASSERT_EQ(alone.size(), replayed.size());
  for (size_t i = 0; i < alone.size(); ++i) {
    EXPECT_EQ(replayed[i].node, alone[i].node);
    EXPECT_EQ(replayed[i].microbatch, alone[i].microbatch);
    EXPECT_EQ(replayed[i].action, alone[i].action);
    EXPECT_EQ(replayed[i].kind, alone[i].kind);
    EXPECT_EQ(replayed[i].flops, alone[i].flops);
    EXPECT_LE(replayed[i].t0_ns, replayed[i].t1_ns);
    if (i > 0) {
      EXPECT_EQ(replayed[i].t0_ns, replayed[i - 1].t1_ns);
    }
  }
}

TEST_F(OneRankGraphs, StepsOfAWrittenTraceRunNodeByNode) {
  make("--trace 3:4", {});
  for (int number = 1; number <= 5; ++number) {
    step(number);
    EXPECT_EQ(seen_.replays > 0, number == 2 || number == 5) << number;
  }
}

TEST_F(OneRankGraphs, OnDemandsThem) {
  make("", {.refuses_after = 0});
  step(1);
  try {
    step(2);
    FAIL() << "nothing was said";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("[--cuda-graphs] on: the device records no graph: it has enough"));
  }
}

TEST_F(OneRankGraphs, OffAndDevicesThatTalkToOthersRecordNothing) {
  make("--cuda-graphs off", {});
  step(1), step(2);
  EXPECT_EQ(seen_.replays + seen_.kernels_recorded, 0);
  make("", {});
  const Instructions instructions(plan_.stages[0], config_, {}, *backend_, nullptr, executor_->arena());
  const Command run{.kind = CommandKind::kRun, .node = 50, .microbatch = 0};
  for (const auto& [kind, device_to_device, takes] : {std::tuple{GraphKind::kAuto, false, true},
                                                      {GraphKind::kAuto, true, false},
                                                      {GraphKind::kOn, true, true},
                                                      {GraphKind::kOff, false, false}})
    EXPECT_EQ(
        KernelGraphs(plan_.stages[0].graph, instructions, backend_->timeline(), kind, device_to_device).takes(run),
        takes);
  const auto cpu = make_cpu_backend(1);
  EXPECT_FALSE(
      KernelGraphs(plan_.stages[0].graph, instructions, cpu->timeline(), GraphKind::kOn, false).takes(run));
}

// By times that the test sets.
class ShortKernels : public OneRankGraphs {
 protected:
  int64_t recorded_with(GraphKind kind, int64_t node_ns, int refuses_after = -1) {
    make("", {.refuses_after = refuses_after});
    const Graph& graph = plan_.stages[0].graph;
    const Instructions instructions(plan_.stages[0], config_, {}, *backend_, nullptr, executor_->arena());
    KernelGraphs graphs(graph, instructions, backend_->timeline(), kind, false);
    std::vector<Command> commands;
    for (int32_t node = 0; commands.size() < 6; ++node) {
      const Command command{.kind = CommandKind::kRun, .node = node, .microbatch = 0};
      if (graphs.takes(command) && graph.nodes()[static_cast<size_t>(node)].lane == Lane::kCompute)
        commands.push_back(command);
    }
    KernelGraphs::Piece* const piece = graphs.piece(commands);
    EXPECT_EQ(graphs.piece(commands), piece);
    EXPECT_EQ(graphs.piece(std::span(commands).first(KernelGraphs::kFewest - 1)), nullptr);
    graphs.record([](const Command&) {});
    EXPECT_EQ(graphs.num_replayable(), 0) << "nothing has run";
    for (const int64_t slower : {50'000, 0, 90'000}) {  // the quickest counts: the first run loads kernels
      std::vector<TraceEvent> events(commands.size());
      for (size_t i = 0; i < events.size(); ++i)
        events[i].t0_ns = static_cast<int64_t>(i) * (node_ns + slower),
        events[i].t1_ns = events[i].t0_ns + node_ns + slower;
      KernelGraphs::learn(*piece, events);
    }
    graphs.record([](const Command&) {});
    news_ = graphs.take_news();
    graphs.record([](const Command&) {});
    EXPECT_EQ(graphs.take_news().info + graphs.take_news().warning, "") << "said twice";
    return graphs.num_replayable();
  }

  KernelGraphs::News news_;
};

TEST_F(ShortKernels, AutoRecordsThemAndLeavesLongOnes) {
  EXPECT_EQ(recorded_with(GraphKind::kAuto, KernelGraphs::kShortNs - 1000), 6);
  EXPECT_EQ(recorded_with(GraphKind::kAuto, KernelGraphs::kShortNs + 1000), 0);
  EXPECT_EQ(recorded_with(GraphKind::kOn, KernelGraphs::kShortNs + 1000), 6);
  EXPECT_THAT(news_.info, HasSubstr("6 kernels recorded"));
}

TEST_F(ShortKernels, ADeviceThatRefusesIsAWarningAndNotAskedAgain) {
  EXPECT_EQ(recorded_with(GraphKind::kAuto, 1000, /*refuses_after=*/0), 0);
  EXPECT_THAT(news_.warning, HasSubstr("records no graph: it has enough. Kernels are launched one by one"));
  EXPECT_THROW(recorded_with(GraphKind::kOn, 1000, /*refuses_after=*/0), Error);
}

// Some pieces are recorded, later ones are not: the numbers are those of a training without any.
TEST_F(OneRankGraphs, AutoGivesTheSameNumbersWhateverItRecords) {
  std::vector<std::vector<double>> losses;
  for (const char* flags : {"--cuda-graphs off", "--cuda-graphs auto"}) {
    make(flags, {.refuses_after = 2});
    losses.emplace_back();
    for (int number = 1; number <= 4; ++number) losses.back().push_back(step(number));
  }
  EXPECT_EQ(losses[0], losses[1]);
}

TEST(KernelGraphs, SharesAreInProportionToWhatNodesTookAlone) {
  KernelGraphs::Piece piece;
  std::vector<TraceEvent> events(3);
  for (const auto& [i, begin, end] : {std::tuple{0u, 0, 100}, {1u, 100, 400}, {2u, 400, 1000}})
    events[i].t0_ns = begin, events[i].t1_ns = end;
  KernelGraphs::learn(piece, events);
  for (TraceEvent& event : events) event.t0_ns = 5000, event.t1_ns = 5500;
  KernelGraphs::share_out(piece, events);
  EXPECT_EQ(events[0].t0_ns, 5000);
  EXPECT_EQ(events[0].t1_ns, 5050);
  EXPECT_EQ(events[1].t0_ns, 5050);
  EXPECT_EQ(events[1].t1_ns, 5200);
  EXPECT_EQ(events[2].t0_ns, 5200);
  EXPECT_EQ(events[2].t1_ns, 5500);
}

}  // namespace
}  // namespace trine
