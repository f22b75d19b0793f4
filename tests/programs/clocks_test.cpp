// Clocks that are really apart: Linux lets processes of one machine have clocks of their own (time namespaces), so
// what is true is known to the nanosecond.
#include <cstdlib>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/programs/mpirun.h"
#include "tests/programs/run.h"

namespace trine {
namespace {

class Clocks : public ProgramTest {};

// Ranks 2 and 3 are 5,000 s ahead. That does not make them dead for the others, either.
TEST_F(Clocks, OfOtherNamespacesAreFoundInEveryStep) {
  const std::string apart = "unshare --time --monotonic 5000 --boottime 5000 ";
  if (run(apart + "true").code != 0) GTEST_SKIP() << "this machine gives no time namespace";
  std::ofstream(folder_ / "rank.sh") << "[ ${OMPI_COMM_WORLD_RANK:-$PMI_RANK} -ge 2 ] && apart=\"" << apart
                                     << "\"\nexec $apart \"$@\"\n";
  ASSERT_EQ(in_folder("prepare_data text.txt --out text").code, 0);
  const Ran ran = in_folder(
      mpirun(4) +
      "bash rank.sh train_llama --tokenizer bytes --data text-train --hidden 32 --heads 2 --ffn 64 --layers 2 "
      "--seq 32 --global-batch 8 --micro-batch 2 --threads 1 --tp 2 --pp 2 --steps 5 --out out "
      "--valid-fraction 0 --trace on --trace-format json");
  ASSERT_EQ(ran.code, 0) << ran.text;
  for (int rank = 0; rank < 4; ++rank) {
    const auto trace =
        nlohmann::json::parse(read_file(folder_ / "out/trace" / fmt::format("rank-{:04}.json", rank)));
    int steps = 0;
    for (const auto& event : trace["traceEvents"]) {
      if (!event.contains("args") || !event["args"].contains("clock_offset_ns")) continue;
      ++steps;
      const auto offset = event["args"]["clock_offset_ns"].get<int64_t>();
      const auto error = event["args"]["clock_error_ns"].get<int64_t>();
      EXPECT_LE(std::abs(offset + (rank < 2 ? 0 : 5'000'000'000'000)), error) << "rank " << rank << ": " << event;
      EXPECT_EQ(error > 0, rank >= 2) << "rank " << rank << ": " << event;
    }
    EXPECT_EQ(steps, 5) << "rank " << rank;
  }
}

}  // namespace
}  // namespace trine
