// What the ranks of real runs recorded is what their programs say: the main thread's order, and each lane's.
#include "plan/step_program.h"

#include <array>
#include <gmock/gmock.h>

#include "comm/local/local_ranks.h"
#include "ops/pipeline.h"
#include "runtime/step/executor.h"
#include "tests/runtime/async_backend.h"
#include "tests/runtime/local_training.h"

namespace trine {
namespace {

// A node's execution for a microbatch.
struct Execution {
  int32_t node = -1, microbatch = -1;
  bool operator==(const Execution&) const = default;
  friend void PrintTo(const Execution& e, std::ostream* out) { *out << e.node << " of " << e.microbatch; }
};

struct Order {
  std::vector<Execution> main;  // what runs, and messages posted and waited for to be sent
  std::array<std::vector<Execution>, kLanes.size()> lanes;
  std::map<std::pair<int, bool>, std::vector<Execution>> received;  // by stage and direction
};

bool is_receive(const Graph& graph, int32_t node) {
  return dynamic_cast<const Receive*>(graph.nodes()[static_cast<size_t>(node)].op.get()) != nullptr;
}

void add_received(const Graph& graph, Execution execution, Order& to) {
  const auto& receive = dynamic_cast<const Receive&>(*graph.nodes()[static_cast<size_t>(execution.node)].op);
  auto& list = to.received[{receive.from_stage % graph.mesh().pp, receive.backward}];
  if (list.empty() || list.back() != execution) list.push_back(execution);
}

Order order_of(const StepProgram& program) {
  Order order;
  program.for_each([&](const Command& command) {
    const Execution execution{command.node, command.microbatch};
    switch (command.kind) {
      case CommandKind::kRun:
      case CommandKind::kPostReceive:
      case CommandKind::kPostSend:
      case CommandKind::kWaitSent:
        return order.main.push_back(execution);
      case CommandKind::kEnqueue:
        return order.lanes[static_cast<size_t>(command.lane)].push_back(execution);
      case CommandKind::kWaitReceive:
        return add_received(program.graph(), execution, order);
      default:
        return;
    }
  });
  return order;
}

// The recorder has the main thread's events first, then the lanes', of which a wait and its transfer are two.
Order order_of(const std::vector<TraceEvent>& events, const Graph& graph, size_t num_of_main) {
  Order order;
  for (const TraceEvent& event : events) {
    const Execution execution{event.node, event.microbatch};
    if (order.main.size() < num_of_main) {
      order.main.push_back(execution);
    } else if (is_receive(graph, event.node)) {
      add_received(graph, execution, order);
    } else {
      auto& lane = order.lanes[static_cast<size_t>(event.lane)];
      if (lane.empty() || lane.back() != execution) lane.push_back(execution);
    }
  }
  return order;
}

void compare(const std::vector<TraceEvent>& events, const StepProgram& program) {
  Order expected = order_of(program);
  const Order order = order_of(events, program.graph(), expected.main.size());
  EXPECT_EQ(order.main, expected.main);
  if (program.mode() != StepMode::kTrain) {  // the lanes' events are not kept
    expected.lanes = {}, expected.received.clear();
  }
  EXPECT_EQ(order.lanes, expected.lanes);
  EXPECT_EQ(order.received, expected.received);
}

// Two training steps, a validation, a check; by each rank. Returns the steps compared.
void run_and_compare(const Config& config, bool on_device) {
  const Plan plan = build_plan(config);
  const Batch batch = random_batches(config)(0);
  run_local_ranks(config.mesh.num_ranks(), [&](Fabric& fabric) {
    CommWorld world(fabric, config.mesh, std::chrono::seconds(60));
    const std::unique_ptr<Backend> backend = on_device ? make_async_backend(1) : make_cpu_backend(1);
    CommLanes lanes(world);
    if (on_device) lanes.talk_on_device(make_async_world(world), std::chrono::seconds(60));
    const StagePlan& stage = plan.stages[static_cast<size_t>(world.coordinate().pp)];
    TraceRecorder trace(1 << 14);
    Executor executor(stage, config, world.coordinate(), *backend, trace, &lanes);
    set_parameters(executor, initial_values(stage.graph, 5), 1);
    const size_t count = batch.ids.size() / static_cast<size_t>(config.mesh.dp);
    const HostStep host{.ids = std::span(batch.ids).first(count),
                        .labels = std::span(batch.labels).first(count),
                        .lr = 1e-3f,
                        .loss_scale = 1};
    executor.train_step(host, 1);
    executor.evaluate(host, 2);
    executor.find_non_finite(host, 3);
    executor.train_step(host, 4);
    SCOPED_TRACE(fmt::format("rank {}", fabric.rank()));
    for (const auto& [step, mode] :
         {std::pair{1, StepMode::kTrain}, {2, StepMode::kEvaluate}, {3, StepMode::kCheck}, {4, StepMode::kTrain}}) {
      SCOPED_TRACE(fmt::format("step {}", step));
      compare(trace.step(step), step_program(stage, mode, on_device));
    }
    EXPECT_EQ(trace.dropped(), 0);
  });
}

struct Layout {
  int ranks;
  const char* flags;
};

class RecordedOrder : public testing::TestWithParam<Layout> {};

constexpr const char* kModel =
    "--hidden 16 --heads 4 --kv-heads 4 --head-dim 4 --ffn 22 --vocab 67 --seq 8 --threads 1 --layers 9 "
    "--micro-batch 1 --global-batch 8 ";

TEST_P(RecordedOrder, IsThePrograms) {
  run_and_compare(config_of(GetParam().ranks, std::string(kModel) + GetParam().flags), false);
}

TEST_P(RecordedOrder, IsTheProgramsOnADevice) {
  run_and_compare(config_of(GetParam().ranks, std::string(kModel) + GetParam().flags), true);
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, RecordedOrder,
    testing::Values(Layout{1, "--recompute full"}, Layout{2, "--tp 2 --recompute selective"}, Layout{2, "--zero 1"},
                    Layout{4, "--pp 4 --schedule gpipe"}, Layout{4, "--pp 4 --schedule 1f1b --tie-embeddings on"},
                    Layout{4, "--pp 4 --schedule zero-bubble"}, Layout{2, "--pp 2 --schedule interleaved --vpp 4"},
                    Layout{8, "--tp 2 --pp 2 --zero 1 --schedule interleaved --vpp 2 --recompute group:2"},
                    Layout{8, "--tp 2 --pp 2 --zero 0 --sp off --schedule zero-bubble"},
                    Layout{8, "--tp 2 --pp 2 --zero 1 --schedule 1f1b --tie-embeddings on --recompute full"}),
    [](const auto& test) {
      std::string name = test.param.flags;
      for (char& c : name)
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
      return name.substr(name.find_first_not_of('_'));
    });

}  // namespace
}  // namespace trine
