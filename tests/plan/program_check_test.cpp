// Programs of all ranks against each other: what comes to its end, and what each rank of a deadlock waits for.
#include "plan/program_check.h"

#include <algorithm>
#include <deque>
#include <gmock/gmock.h>

#include "base/error.h"
#include "plan/memory_plan.h"
#include "tests/plan/skeleton.h"

namespace trine {
namespace {

using testing::HasSubstr;
using enum PipelineKind;

// The graphs of a pipeline without a model, with the programs of its ranks.
struct Pipeline {
  std::deque<Graph> graphs;
  std::vector<StepProgram> programs;

  // `send_slots` buffers for each value that is sent; 0: nobody waits for them.
  Pipeline(const std::vector<Schedule>& schedules, int vpp, StepMode mode, bool device_to_device, int send_slots) {
    const int pp = static_cast<int>(schedules.size());
    for (int rank = 0; rank < pp; ++rank) {
      const Graph& graph = graphs.emplace_back(skeleton_graph(rank, pp, vpp));
      const Schedule& schedule = schedules[static_cast<size_t>(rank)];
      const MemoryPlan memory = plan_memory(graph, schedule, {DeviceKind::kCpu, 1}, std::max(1, send_slots));
      programs.emplace_back(graph, schedule, mode, device_to_device, send_slots > 0 ? &memory : nullptr);
    }
  }
};

std::string error_of(const std::vector<Schedule>& schedules, int vpp = 1, StepMode mode = StepMode::kTrain,
                     bool device_to_device = false, int send_slots = 0) {
  const Pipeline pipeline(schedules, vpp, mode, device_to_device, send_slots);
  try {
    check_programs(pipeline.programs);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

struct Layout {
  PipelineKind kind;
  int pp, vpp, microbatches;
};

void for_layouts(const auto& check) {
  for (const PipelineKind kind : {kGpipe, k1F1B, kInterleaved, kZeroBubble})
    for (const int pp : {1, 2, 3, 4, 8})
      for (const int vpp : {1, 2, 4})
        for (const int m : {1, 2, 3, 4, 6, 8, 9, 12, 17, 24}) {
          if (kind == kInterleaved ? pp == 1 || interleaved_problem(pp, m) : vpp > 1) continue;
          SCOPED_TRACE(fmt::format("kind {} pp {} vpp {} microbatches {}", static_cast<int>(kind), pp, vpp, m));
          check(Layout{kind, pp, vpp, m});
          if (testing::Test::HasFailure()) return;
        }
}

TEST(ProgramCheck, SchedulesComeToTheirEnd) {
  for_layouts([](const Layout& l) {
    const auto schedules = make_schedules(l.kind, l.pp, l.vpp, l.microbatches);
    for (const StepMode mode : {StepMode::kTrain, StepMode::kEvaluate})
      EXPECT_EQ(error_of(schedules, l.vpp, mode), "no error");
  });
}

// One buffer for what is on its way to a peer is enough; only interleaved rounds of more than pp microbatches,
// whose sends run ahead of their receives, want one more for each microbatch above pp.
TEST(ProgramCheck, FewSendBuffersAreEnough) {
  for_layouts([](const Layout& l) {
    const int round = l.microbatches / std::max(1, l.microbatches / l.pp);
    const int slots = l.kind == kInterleaved ? std::max(1, round - l.pp + 1) : 1;
    const auto schedules = make_schedules(l.kind, l.pp, l.vpp, l.microbatches);
    EXPECT_EQ(error_of(schedules, l.vpp, StepMode::kTrain, false, slots), "no error");
  });
}

TEST(ProgramCheck, FindsMessagesInDifferentOrders) {
  auto schedules = make_schedules(k1F1B, 4, 1, 8);
  std::swap(*std::find(schedules[0].begin(), schedules[0].end(), parse_schedule("0F1")[0]),
            *std::find(schedules[0].begin(), schedules[0].end(), parse_schedule("0F2")[0]));
  EXPECT_THAT(error_of(schedules),
              HasSubstr("message 1 from rank 0 to rank 1 is 0F2, but there the receive of 0F1 is posted."));
}

TEST(ProgramCheck, SaysWhatEachRankOfADeadlockWaitsFor) {
  // Rank 0 wants the gradient of microbatch 1 before it sends that microbatch.
  EXPECT_EQ(error_of({parse_schedule("0F0 0B0 0F1 0B1"), parse_schedule("1F0 1F1 1B0 1B1")}),
            "[schedule] deadlock: no rank can go on. Change the order of the actions, or what they wait for.\n"
            "  rank 0 at 0B0 (action 1 of 4) waits for 1B0 from rank 1\n"
            "  rank 1 at 1F1 (action 1 of 4) waits for 0F1 from rank 0");
  EXPECT_THAT(error_of({parse_schedule("0F0 0I0 0W0"), parse_schedule("1F0")}),
              HasSubstr("rank 0 at 0I0 (action 1 of 3) waits for 1B0 from rank 1\n  rank 1 is done"));
}

// Two ranks that both send twice before they receive: with one buffer the second send waits for a receive that is
// posted one action ahead of its own, and with messages from device to device, not even then.
TEST(ProgramCheck, CountsTheWaitsForBuffers) {
  const std::vector<Schedule> schedules{parse_schedule("0F0 0F1 0F2 0F3 0B0 0B1 0B2 0B3"),
                                        parse_schedule("1F0 1B0 1F1 1B1 1F2 1B2 1F3 1B3")};
  EXPECT_EQ(error_of(schedules, 1, StepMode::kTrain, false, 4), "no error");
  EXPECT_THAT(error_of(schedules, 1, StepMode::kTrain, false, 1),
              HasSubstr("rank 1 at 1B1 (action 3 of 8) waits for its message 1B0 to be received, "
                        "whose buffer is used again"));
}

}  // namespace
}  // namespace trine
