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

}  // namespace
}  // namespace trine
