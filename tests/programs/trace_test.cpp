// The trace of a run, read back: it says the same as metrics.jsonl.
#include "tests/programs/mpirun.h"
#include "trace/trace_reader.h"

namespace trine {
namespace {

class TraceFiles : public ProgramTest {
 protected:
  static constexpr const char* kTrain =
      "train_llama --layers 4 --hidden 32 --heads 4 --kv-heads 2 --ffn 64 --seq 32 --global-batch 8 --micro-batch "
      "1 --threads 1 --data text-train --out out ";

  // The mean over ranks of what each step's trace accounts is the line of metrics.jsonl.
  void expect_same_as_metrics(const Trace& trace, int num_steps) const {
    int steps = 0;
    for (const auto& line : json_lines(folder_ / "out/metrics.jsonl")) {
      if (!line.contains("loss")) continue;
      const auto index = static_cast<size_t>(steps++);
      for (int k = 0; k < kNumEventKinds; ++k) {
        const auto kind = static_cast<EventKind>(k);
        double mean = 0;
        for (const RankTrace& rank : trace.ranks)
          mean += account(rank.steps.at(index))[kind] / static_cast<double>(trace.ranks.size());
        EXPECT_NEAR(mean, double(line[fmt::format("{}_s", name(kind))]), 1e-9) << name(kind) << " in " << line;
      }
    }
    EXPECT_EQ(steps, num_steps);
  }
};

TEST_F(TraceFiles, AccountWhatMetricsSay) {
  prepare();
  const Ran ran = in_folder(std::string(kTrain) +
                            "--local-ranks 8 --tp 2 --pp 2 --trace on --steps 4 --save-interval 2 "
                            "--valid-fraction 0.1 --valid-interval 2");
  ASSERT_EQ(ran.code, 0) << ran.text;
  const Trace trace = read_trace(folder_ / "out");
  ASSERT_EQ(trace.ranks.size(), 8u);
  EXPECT_EQ(trace.mesh, (Mesh{.pp = 2, .dp = 2, .tp = 2}));
  expect_same_as_metrics(trace, 4);

  for (const RankTrace& rank : trace.ranks) {
    EXPECT_FALSE(rank.host.empty());
    EXPECT_EQ(rank.coordinate, trace.mesh.coordinate(rank.rank));
    for (const StepTrace& step : rank.steps) {
      EXPECT_EQ(step.clock, ClockOffset{}) << "ranks of one host have one clock";
      std::map<std::pair<int32_t, bool>, std::set<int32_t>> messages;  // by peer and direction: their numbers
      std::set<int32_t> actions, tp;
      for (const TraceEvent& event : step.events) {
        const NodeLabel* const label = trace.label(rank, event);
        if (event.action >= 0) actions.insert(event.action);
        if (event.lane == Lane::kTp) tp.insert(event.sequence);
        if (label && label->op.starts_with("send") && event.sequence >= 0)
          messages[{event.peer, label->op == "send_grad"}].insert(event.sequence);
      }
      // 4 microbatches of each dp rank: forward and backward.
      EXPECT_EQ(actions.size(), 8u);
      EXPECT_EQ(*actions.rbegin(), 7);
      EXPECT_EQ(*tp.begin(), 0);
      EXPECT_EQ(*tp.rbegin() + 1, std::ssize(tp));
      ASSERT_EQ(messages.size(), 1u);
      EXPECT_EQ(messages.begin()->first, (std::pair{1 - rank.coordinate.pp, rank.coordinate.pp == 1}));
      EXPECT_EQ(messages.begin()->second, (std::set<int32_t>{0, 1, 2, 3}));
    }
  }
}

TEST_F(TraceFiles, OfSomeRanksInPlainJson) {
  prepare();
  const Ran ran = in_folder(std::string(kTrain) +
                            "--local-ranks 4 --tp 2 --trace 2:3 --steps 4 --trace-ranks 1,3 --trace-format json");
  ASSERT_EQ(ran.code, 0) << ran.text;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out/trace/rank-0000.json"));
  EXPECT_TRUE(nlohmann::json::accept(read_file(folder_ / "out/trace/rank-0003.json")));
  const Trace trace = read_trace(folder_ / "out");
  ASSERT_EQ(trace.ranks.size(), 2u);
  EXPECT_EQ(trace.ranks[1].rank, 3);
  ASSERT_EQ(trace.ranks[1].steps.size(), 2u);
  EXPECT_EQ(trace.ranks[1].steps[0].step, 2);
}

TEST_F(TraceFiles, EndWholeAtTheirLimitAndSaySoOnce) {
  prepare();
  const Ran ran = in_folder(std::string(kTrain) + "--trace on --steps 30 --trace-limit 150000");
  ASSERT_EQ(ran.code, 0) << ran.text;
  EXPECT_EQ(count(ran.text, "--trace-limit is 146.5 KiB"), 1u) << ran.text;
  EXPECT_LE(std::filesystem::file_size(folder_ / "out/trace/rank-0000.json.gz"), 150'000u);
  const size_t steps = read_trace(folder_ / "out").ranks.at(0).steps.size();
  EXPECT_GT(steps, 1u);
  EXPECT_LT(steps, 30u);
}

}  // namespace
}  // namespace trine
