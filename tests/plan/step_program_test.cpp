// The order of a step, written out by hand for small graphs, and walked for a large one.
#include "plan/step_program.h"

#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <sstream>

#include "plan/config/flags.h"
#include "plan/memory_plan.h"
#include "plan/plan.h"
#include "plan/printing/plan_text.h"
#include "tests/plan/skeleton.h"

namespace trine {
namespace {

using testing::HasSubstr;

// "0F1: run 0, post_send 2 slot 1": what stands in each action's part, with the node, and the microbatch where it
// is not the action's.
std::string text_of(const StepProgram& program) {
  std::string text;
  for (int action = -1; action <= static_cast<int>(program.actions().size()); ++action) {
    std::vector<std::string> words;
    const int own = action >= 0 && action < static_cast<int>(program.actions().size())
                        ? program.actions()[static_cast<size_t>(action)].microbatch
                        : -1;
    program.for_each_of(action, [&](const Command& c) {
      std::string word(c.kind == CommandKind::kAction ? "|" : name(c.kind));
      if (c.node >= 0) word += fmt::format(" {}", c.node);
      if (c.slot >= 0) word += fmt::format(" slot {}", c.slot);
      if (c.microbatch != own) word += fmt::format(" of {}", c.microbatch);
      words.push_back(word);
    });
    text += fmt::format("{}: {}\n", program.label(action), fmt::join(words, ", "));
  }
  return text;
}

// Two ranks of one stage, three microbatches, 1F1B. Rank 0: cast 0, cast 1, send 2; receive_grad 3, cast 4; W 5.
class OneForwardOneBackward : public testing::Test {
 protected:
  std::string text(int rank, StepMode mode, bool device_to_device, int send_slots = 0) const {
    const Graph graph = skeleton_graph(rank, 2, 1);
    const Schedule schedule = one_forward_one_backward(rank, 2, 3);
    if (send_slots == 0) return text_of(StepProgram(graph, schedule, mode, device_to_device));
    const MemoryPlan memory = plan_memory(graph, schedule, {DeviceKind::kCpu, 1}, send_slots);
    return text_of(StepProgram(graph, schedule, mode, device_to_device, &memory));
  }
};

TEST_F(OneForwardOneBackward, PostsReceivesOneActionAhead) {
  EXPECT_EQ(text(0, StepMode::kTrain, false),
            "prologue: |\n"
            "0F0: |, run 0, run 1, post_send 2\n"
            "0F1: post_receive 3 of 0, |, run 0, run 1, post_send 2\n"
            "0B0: |, wait_receive 3, run 4, run 5\n"
            "0F2: post_receive 3 of 1, |, run 0, run 1, post_send 2\n"
            "0B1: post_receive 3 of 2, |, wait_receive 3, run 4, run 5\n"
            "0B2: |, wait_receive 3, run 4, run 5\n"
            "epilogue: |, end\n");
  // receive 0, cast 1, cast 2; cast 3, send_grad 4; W 5.
  EXPECT_EQ(text(1, StepMode::kTrain, false),
            "prologue: |\n"
            "1F0: post_receive 0, |, wait_receive 0, run 1, run 2\n"
            "1B0: post_receive 0 of 1, |, run 3, post_send 4, run 5\n"
            "1F1: |, wait_receive 0, run 1, run 2\n"
            "1B1: post_receive 0 of 2, |, run 3, post_send 4, run 5\n"
            "1F2: |, wait_receive 0, run 1, run 2\n"
            "1B2: |, run 3, post_send 4, run 5\n"
            "epilogue: |, end\n");
}

TEST_F(OneForwardOneBackward, PostsThemBehindTheActionWhereMessagesGoFromDeviceToDevice) {
  EXPECT_EQ(text(1, StepMode::kTrain, true),
            "prologue: |\n"
            "1F0: post_receive 0, |, wait_receive 0, run 1, run 2\n"
            "1B0: |, run 3, post_send 4, run 5, post_receive 0 of 1\n"
            "1F1: |, wait_receive 0, run 1, run 2\n"
            "1B1: |, run 3, post_send 4, run 5, post_receive 0 of 2\n"
            "1F2: |, wait_receive 0, run 1, run 2\n"
            "1B2: |, run 3, post_send 4, run 5\n"
            "epilogue: |, end\n");
}

TEST_F(OneForwardOneBackward, WaitsWhereASlotIsUsedAgain) {
  EXPECT_EQ(text(0, StepMode::kTrain, false, 2),
            "prologue: |\n"
            "0F0: |, run 0, run 1, post_send 2 slot 0\n"
            "0F1: post_receive 3 of 0, |, run 0, run 1, post_send 2 slot 1\n"
            "0B0: |, wait_receive 3, run 4, run 5\n"
            "0F2: wait_sent 2 slot 0, post_receive 3 of 1, |, run 0, run 1, post_send 2 slot 0\n"
            "0B1: post_receive 3 of 2, |, wait_receive 3, run 4, run 5\n"
            "0B2: |, wait_receive 3, run 4, run 5\n"
            "epilogue: |, end\n");
}

TEST_F(OneForwardOneBackward, EvaluationRunsForwardsThatPostTheirOwnReceives) {
  EXPECT_EQ(text(1, StepMode::kEvaluate, false),
            "prologue: |\n"
            "1F0: post_receive 0, |, wait_receive 0, run 1, run 2\n"
            "1F1: post_receive 0, |, wait_receive 0, run 1, run 2\n"
            "1F2: post_receive 0, |, wait_receive 0, run 1, run 2\n"
            "epilogue: end\n");
  EXPECT_EQ(text(0, StepMode::kEvaluate, true, 1),
            "prologue: |\n"
            "0F0: |, run 0, run 1, post_send 2 slot 0\n"
            "0F1: wait_sent 2 slot 0, |, run 0, run 1, post_send 2 slot 0\n"
            "0F2: wait_sent 2 slot 0, |, run 0, run 1, post_send 2 slot 0\n"
            "epilogue: end\n");
}

TEST(StepProgram, ASplitBackwardIsTwoActions) {
  const Graph graph = skeleton_graph(1, 2, 1);
  EXPECT_EQ(text_of(StepProgram(graph, parse_schedule("1F0 1I0 1F1 1I1 1W0 1W1"), StepMode::kTrain, false)),
            "prologue: |\n"
            "1F0: post_receive 0, |, wait_receive 0, run 1, run 2\n"
            "1I0: post_receive 0 of 1, |, run 3, post_send 4\n"
            "1F1: |, wait_receive 0, run 1, run 2\n"
            "1I1: |, run 3, post_send 4\n"
            "1W0: |, run 5\n"
            "1W1: |, run 5\n"
            "epilogue: |, end\n");
}

// Rank 0 of two chunks: F of stage 0 is 0 1 2s, of stage 2 is 3r 4 5 6s; I and W of stage 2:
// 7r 8 9s, 10; of 0: 11r 12, 13.
TEST(StepProgram, ChunksHaveNodesOfTheirOwn) {
  const Graph graph = skeleton_graph(0, 2, 2);
  EXPECT_EQ(text_of(StepProgram(graph, parse_schedule("0F0 2F0 2B0 0B0"), StepMode::kTrain, false)),
            "prologue: |\n"
            "0F0: post_receive 3, |, run 0, run 1, post_send 2\n"
            "2F0: post_receive 7, |, wait_receive 3, run 4, run 5, post_send 6\n"
            "2B0: post_receive 11, |, wait_receive 7, run 8, post_send 9, run 10\n"
            "0B0: |, wait_receive 11, run 12, run 13\n"
            "epilogue: |, end\n");
}

// prologue: compute 0.
// microbatch: compute 1, tp 2 (after 1), compute 3, dp 4 (after 3 and tp 2), compute 5 (after 2), tp 6 (after 5).
// epilogue: dp 7 (after 3), dp 8 (after 7), tp 9 (after 3 and 5), dp 10 (after compute 11): late; compute 11 (after
// 8 and the tp lane's 6).
class Lanes : public testing::Test {
 protected:
  Lanes() {
    Builder b(Mesh{});
    const StateId state = b.add_state({.name = "x", .type = {DType::kF32, {4, 4}}});
    const auto add = [&](Region region, Lane lane, std::vector<int> waits) {
      b.enter(region);
      b.add(Cast(DType::kF32), {b.read(state)});
      b.nodes().back().lane = lane;
      for (const int wait : waits) b.nodes().back().waits.push_back(NodeId{wait});
    };
    add(Region::kPrologue, Lane::kCompute, {});
    add(Region::kMicrobatch, Lane::kCompute, {});
    add(Region::kMicrobatch, Lane::kTp, {1});
    add(Region::kMicrobatch, Lane::kCompute, {});
    add(Region::kMicrobatch, Lane::kDp, {3, 2});
    add(Region::kMicrobatch, Lane::kCompute, {2});
    add(Region::kMicrobatch, Lane::kTp, {5});
    add(Region::kEpilogue, Lane::kDp, {3});
    add(Region::kEpilogue, Lane::kDp, {7});
    add(Region::kEpilogue, Lane::kTp, {3, 5});
    add(Region::kEpilogue, Lane::kDp, {11});
    add(Region::kEpilogue, Lane::kCompute, {8, 6});
    graph_ = b.finish();
  }
  Graph graph_;
};

TEST_F(Lanes, AreWaitedForWhereANodeSaysSoAndAtThePhasesEnd) {
  EXPECT_EQ(text_of(StepProgram(graph_, parse_schedule("0F0 0F1"), StepMode::kTrain, false)),
            "prologue: |, run 0\n"
            "0F0: |, run 1, enqueue 2, run 3, enqueue 4, wait_lane 2, run 5, enqueue 6, wait_lane 6\n"
            "0F1: |, run 1, enqueue 2, run 3, enqueue 7 of -1, enqueue 8 of -1, enqueue 4, wait_lane 2, run 5, "
            "enqueue 9 of -1, enqueue 6, wait_lane 6\n"
            "epilogue: |, enqueue 10, wait_lane 8, wait_lane 6 of 1, run 11, end\n");
}

TEST_F(Lanes, NothingStartsEarlyInAStepThatIsNotApplied) {
  EXPECT_EQ(text_of(StepProgram(graph_, parse_schedule("0F0"), StepMode::kCheck, false)),
            "prologue: |, run 0\n"
            "0F0: |, run 1, enqueue 2, run 3, enqueue 4, wait_lane 2, run 5, enqueue 6, wait_lane 6\n"
            "epilogue: end\n");
}

TEST_F(Lanes, WaitThemselvesForOtherLanesButCompute) {
  const auto waits = [&](int node) { return lane_waits(graph_, graph_.nodes()[static_cast<size_t>(node)]); };
  EXPECT_THAT(waits(2), testing::IsEmpty());
  EXPECT_THAT(waits(4), testing::ElementsAre(NodeId{2}));
  EXPECT_THAT(waits(8), testing::IsEmpty()) << "its own lane is in order";
}

Config config_of(std::vector<const char*> flags) {
  flags.insert(flags.begin(), "train_llama");
  const LaunchInfo launch{.time = "now"};
  return std::get<Config>(parse_train_flags(static_cast<int>(flags.size()), flags.data(), launch, "test"));
}

TEST(StepProgram, WalksAHugeStepInBoundedMemory) {
  const Plan plan = build_plan(
      config_of({"--model", "llama2-70b", "--tp", "8", "--pp", "16", "--vpp", "5", "--schedule", "interleaved",
                 "--ranks", "128", "--micro-batch", "1", "--global-batch", "512", "--dry-run"}));
  ASSERT_EQ(plan.config.num_microbatches(), 512);
  for (const size_t rank : {0u, 7u, 15u}) {
    const StagePlan& stage = plan.stages[rank];
    const StepProgram program = step_program(stage, StepMode::kTrain, false);
    std::vector<int64_t> times(stage.graph.nodes().size());
    int64_t actions = 0, commands = 0;
    program.for_each([&](const Command& command) {
      ++commands;
      actions += command.kind == CommandKind::kAction;
      if (command.kind == CommandKind::kRun || command.kind == CommandKind::kEnqueue)
        ++times[static_cast<size_t>(command.node)];
    });
    EXPECT_EQ(actions, 2 * 5 * 512 + 2);
    for (size_t n = 0; n < times.size(); ++n) {
      const Node& node = stage.graph.nodes()[n];
      const bool runs = !node.op->is_view() && !node.op->is_transfer();
      EXPECT_EQ(times[n], !runs ? 0 : node.region == Region::kMicrobatch ? 512 : 1) << n;
    }
    EXPECT_GT(commands, 100'000);
    EXPECT_LT(program.num_stored(), 10'000u) << "each phase of a chunk once";
  }
}

TEST(StepProgram, Prints) {
  const Plan plan =
      build_plan(config_of({"--ranks", "4", "--tp", "2", "--pp", "2", "--dry-run", "--print-program"}));
  std::ostringstream out;
  print_program(plan, out);
  EXPECT_THAT(out.str(), HasSubstr("pp 0: command, node, op, microbatch\nprologue\n  run  "));
  EXPECT_THAT(out.str(), HasSubstr("\n0F1\n"));
  EXPECT_THAT(out.str(), HasSubstr("send 1 slot 1"));
}

}  // namespace
}  // namespace trine
