#include "cluster/cpu_cost.h"

#include <gmock/gmock.h>

#include "tests/cluster/cpu_profiles.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

using testing::expect_error;
using testing::four_core_profile;
using testing::four_cores;

Cost cost_of(double flops, int64_t bytes) { return {.flops = flops, .bytes_read = bytes, .bytes_written = 0}; }

double linear_us(const CpuProfile& cpu, double flops, int threads = 1, double busy = 1) {
  return 1e6 * cpu_op_s(cpu, "linear", cost_of(flops, 1), DType::kBF16, threads, busy).seconds;
}

TEST(CpuCost, IsAConstantAndWorkOverARate) {
  const CpuProfile cpu = four_core_profile().cpu;
  EXPECT_NEAR(linear_us(cpu, 1e7), 20, 1e-6);
  EXPECT_NEAR(linear_us(cpu, 1e9), 1010, 1e-6);
  EXPECT_NEAR(linear_us(cpu, 0), 10, 1e-6);
  EXPECT_NEAR(1e6 * cpu_op_s(cpu, "rms_norm", cost_of(0, 100'000), DType::kF32, 1, 1).seconds, 20, 1e-6);
}

// A product of narrow shape, twice as slow as the rest of its family.
TEST(CpuCost, AMeasuredShapeWinsAndItsNeighboursLeanOnIt) {
  CpuProfile cpu = four_core_profile().cpu;
  cpu.ops[0].shapes[1].us = 220;
  EXPECT_NEAR(1e6 * cpu_op_s(cpu, "linear", cost_of(1e8, 100'000), DType::kBF16, 1, 1).seconds, 220, 1e-6);
  EXPECT_NEAR(linear_us(cpu, 1e9), 2 * 1010, 1e-6);  // beyond the last: as it
  EXPECT_NEAR(linear_us(cpu, 1e7), 1.5 * 20, 1e-6);  // between 1 and 2 times
}

// min(B_1, B_all / n): two cores stream 10 GB/s each of 20 GB/s, four have half.
TEST(CpuCost, StreamsShareTheMemory) {
  CpuProfile cpu = four_core_profile().cpu;
  EXPECT_EQ(busy_factor(cpu, 1, 1), 1);
  EXPECT_EQ(busy_factor(cpu, 1, 2), 1);
  EXPECT_EQ(busy_factor(cpu, 1, 4), 2);
  EXPECT_EQ(busy_factor(cpu, 0, 4), 1);
  EXPECT_EQ(busy_factor(cpu, 0.5, 4), 1.5);
  EXPECT_EQ(busy_factor(cpu, 1, 9), 2);  // there are no more cores
  cpu.busy_slowdown = 1.3;
  EXPECT_NEAR(busy_factor(cpu, 0, 4), 1.3, 1e-12);
  EXPECT_NEAR(busy_factor(cpu, 0, 2), 1.1, 1e-12);
  EXPECT_NEAR(1e6 * cpu_op_s(cpu, "rms_norm", cost_of(0, 100'000), DType::kF32, 1, 4).seconds, 40, 1e-6);
}

TEST(CpuCost, ThreadsAndOpsThatWereNotMeasuredAreGuessedAndSaidSo) {
  const CpuProfile cpu = four_core_profile().cpu;
  const auto linear = [&](int threads) {
    return cpu_op_s(cpu, "linear", cost_of(1e9, 1), DType::kBF16, threads, 1);
  };
  EXPECT_TRUE(linear(1).measured);
  EXPECT_FALSE(linear(2).measured);
  EXPECT_NEAR(linear(2).seconds, linear(1).seconds / 2, 1e-9);
  const CpuSeconds other = cpu_op_s(cpu, "swiglu", cost_of(1, 1'000'000), DType::kBF16, 1, 1);
  EXPECT_FALSE(other.measured);
  EXPECT_NEAR(other.seconds, 1e-4, 1e-9);  // 1 MB at 10 GB/s
}

TEST(CpuCost, TransfersLieBetweenTheMeasuredSizes) {
  const CpuProfile cpu = four_core_profile().cpu;
  const auto us = [&](double bytes, int ranks) { return 1e6 * cpu_transfer_s(cpu, "all_reduce", bytes, ranks, 1); };
  EXPECT_EQ(us(1e6, 1), 0);
  EXPECT_NEAR(us(10, 2), 101, 1e-6);
  EXPECT_NEAR(us(5e5, 2), 600, 1e-6);
  EXPECT_NEAR(us(2e6, 2), 2100, 1e-6);
  // Four: three messages for one, and 3 / 4 of the bytes for 1 / 2.
  EXPECT_NEAR(us(1e6, 4), 3 * 101 + 999 * 1.5, 1e-6);
  EXPECT_NEAR(1e6 * cpu_transfer_s(cpu, "message", 5e5, 2, 1), 100, 1e-6);
}

TEST(CpuProfile, ComesBackWholeAndIsChecked) {
  const Profile profile = four_core_profile();
  EXPECT_TRUE(profile.is_cpu());
  EXPECT_FALSE(load_profile("rtx4090").is_cpu());
  EXPECT_EQ(parse_profile(to_json(profile).dump(), "copy"), profile);
  nlohmann::json json = four_cores();
  json["cpu"].erase("wake_us");
  json["cpu"]["ops"][1]["giga_per_s"] = -1;
  json["cpu"]["ops"][2]["shapes"][0] = {1, 2};
  json["cpu"]["transfers"][0]["kind"] = "all_to_all";
  json["cpu"]["transfers"][1]["points"] = {{10, 1}, {5, 1}};
  json["cpu"]["transfers"][2] = 7;
  expect_error(ExitCode::kConfig,
               {"it lacks cpu.wake_us", "cpu.ops[1] has giga_per_s -1", "cpu.ops[2] has shapes",
                "rows of 3 numbers", "cpu.transfers[0] has kind \"all_to_all\"", "cpu.transfers[1] has points",
                "rising bytes", "cpu.transfers[2] is no object"},
               [&] { parse_profile(json.dump(), "mine.json"); });
  json = four_cores();
  json["cpu"]["stream_all_gb_per_s"] = 100;
  expect_error(ExitCode::kConfig, {"cpu.stream_all_gb_per_s is 100", "4 cores"},
               [&] { parse_profile(json.dump(), "mine.json"); });
  json["cpu"] = "fast";
  expect_error(ExitCode::kConfig, {"cpu is no number of a profile"},
               [&] { parse_profile(json.dump(), "mine.json"); });
  Profile gpus = load_profile("rtx4090"), changed = profile;
  set_values(changed, std::vector<std::string>{"cpu.cores=8"});
  EXPECT_EQ(changed.cpu.cores, 8);
  expect_error(ExitCode::kConfig, {"cpu.cores is a number of machines without GPUs"},
               [&] { set_values(gpus, std::vector<std::string>{"cpu.cores=8"}); });
}

}  // namespace
}  // namespace trine
