// How large a trace is, and how fast it is read, at the size of a model that people train.
#include <filesystem>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "tests/data/scratch.h"
#include "tests/trace/plan_of.h"
#include "tests/trace/planned_trace.h"
#include "trace/trace_reader.h"
#include "trace/trace_writer.h"

namespace trine {
namespace {

constexpr const char* kLlama2 = "--model llama2-7b --tp 8 --pp 4 --micro-batch 1 --dry-run ";

TEST(TraceSize, AStepOfLlama2IsUnderAMegabyteARank) {
  const Plan plan = testing::plan_of(32, std::string(kLlama2) + "--global-batch 32");
  const testing::PlannedTrace planned(plan);
  for (const int rank : {0, 31}) {
    Trace trace = planned.empty();
    trace.ranks.push_back(planned.rank(rank, 2));
    const testing::ScratchFolder folder;
    write_trace(trace, folder.path());
    const auto bytes = std::filesystem::file_size(folder / (rank_name(rank) + ".json.gz"));
    RecordProperty("bytes_per_step_of_rank_" + std::to_string(rank), static_cast<int>(bytes / 2));
    EXPECT_LT(bytes / 2, 1'000'000u);
    EXPECT_TRUE(read_trace(folder.path()).ranks == trace.ranks);
  }
}

// 64 ranks, 3 steps: about four million events, a gigabyte of JSON. With --gtest_also_run_disabled_tests.
TEST(TraceSize, DISABLED_SixtyFourRanksAreReadInSeconds) {
  const Plan plan = testing::plan_of(64, std::string(kLlama2) + "--global-batch 64");
  const testing::PlannedTrace planned(plan);
  const testing::ScratchFolder folder;
  size_t events = 0;
  const int64_t begin = now_ns();
  for (int rank = 0; rank < 64; ++rank) {
    Trace trace = planned.empty();
    trace.ranks.push_back(planned.rank(rank, 3));
    for (const StepTrace& step : trace.ranks[0].steps) events += step.events.size();
    write_trace(trace, folder.path());
  }
  const int64_t written = now_ns();
  const Trace read = read_trace(folder.path());
  const int64_t end = now_ns();
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  fmt::print("{} events, written in {:.1f} s, read in {:.1f} s, {} MiB resident\n", events,
             static_cast<double>(written - begin) * 1e-9, static_cast<double>(end - written) * 1e-9,
             usage.ru_maxrss / 1024);
  EXPECT_EQ(read.ranks.size(), 64u);
  EXPECT_LT(end - written, 20'000'000'000);
  EXPECT_LT(usage.ru_maxrss, 1'000'000);  // KiB
}

}  // namespace
}  // namespace trine
