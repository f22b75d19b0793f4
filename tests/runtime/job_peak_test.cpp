// What MFU is a share of: which profile is taken, and what is said where none can be.
#include "runtime/training/job_peak.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "runtime/training/metrics.h"
#include "tests/cluster/cpu_profiles.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

using ::testing::HasSubstr;
using testing::ScratchFolder;

Config two_ranks(DeviceKind device = DeviceKind::kCpu) {
  Config config;
  config.device = device;
  config.mesh = {.pp = 1, .dp = 1, .tp = 2};
  config.threads = 1;
  config.dtype = DType::kBF16;
  return config;
}

void write_profile(const std::filesystem::path& file, double tflops, double cores, const std::string& cpu) {
  Profile profile = testing::four_core_profile();
  profile.device.bf16_tflops = tflops, profile.cpu.cores = cores, profile.device.name = "core of " + cpu;
  std::ofstream(file) << to_json(profile).dump();
}

TEST(JobPeak, IsThatOfTheClusterThenOfWhatWasMeasuredHere) {
  const ScratchFolder folder;
  write_profile(folder / "measured.json", 0.25, 4, "AMD EPYC 9R14");
  write_profile(folder / "other.json", 0.5, 4, "another");
  Config config = two_ranks();
  const FoundPeak measured = find_peak(config, folder.path(), "", "AMD EPYC 9R14");
  ASSERT_TRUE(measured.peak) << measured.warning;
  EXPECT_DOUBLE_EQ(measured.peak->flops_per_s, 0.25e12);
  EXPECT_THAT(measured.peak->source, HasSubstr("measured.json"));
  config.cluster = (folder / "other.json").string();  // given by the user: of whatever machine
  const FoundPeak given = find_peak(config, folder.path(), "", "AMD EPYC 9R14");
  ASSERT_TRUE(given.peak) << given.warning;
  EXPECT_DOUBLE_EQ(given.peak->flops_per_s, 0.5e12);
  EXPECT_EQ(given.peak->source, config.cluster);
}

TEST(JobPeak, CountsTheCoresThatAreThere) {
  const ScratchFolder folder;
  write_profile(folder / "measured.json", 0.25, 3, "x");
  Config config = two_ranks();
  config.threads = 3;  // six threads on three cores
  EXPECT_DOUBLE_EQ(find_peak(config, folder.path(), "", "x").peak->flops_per_s, 0.25e12 * 3 / 2);
}

TEST(JobPeak, SaysWhyThereIsNone) {
  const ScratchFolder folder;
  EXPECT_FALSE(find_peak(two_ranks(), folder.path(), "", "x").peak);
  EXPECT_EQ(find_peak(two_ranks(), folder.path(), "", "x").warning, "");
  write_profile(folder / "measured.json", 0.25, 2, "another");
  const FoundPeak elsewhere = find_peak(two_ranks(), folder.path(), "", "x");
  EXPECT_FALSE(elsewhere.peak);
  EXPECT_THAT(elsewhere.warning, HasSubstr("another machine"));
  std::ofstream(folder / "measured.json") << "{";
  const FoundPeak broken = find_peak(two_ranks(), folder.path(), "", "x");
  EXPECT_FALSE(broken.peak);
  EXPECT_THAT(broken.warning, HasSubstr("measured.json"));
}

// As CUDA names its cards.
TEST(JobPeak, AGpuIsKnownByItsName) {
  const auto tflops = [](std::string_view device) {
    const auto profile = built_in_of_device(device);
    return profile ? profile->device.bf16_tflops : 0;
  };
  EXPECT_NEAR(tflops("NVIDIA GeForce RTX 4090"), 165.2, 0.1);
  EXPECT_NEAR(tflops("NVIDIA GeForce RTX 3090"), 71, 0.5);
  EXPECT_NEAR(tflops("NVIDIA A100-SXM4-80GB"), 312, 0.1);
  EXPECT_NEAR(tflops("NVIDIA A100 80GB PCIe"), 312, 0.1);
  EXPECT_NEAR(tflops("NVIDIA H100 80GB HBM3"), 989.4, 0.6);
  EXPECT_NEAR(tflops("NVIDIA H100 PCIe"), 756, 1);
  EXPECT_NEAR(tflops("NVIDIA H200"), 989.4, 0.6);
  for (const char* other : {"NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 D", "NVIDIA H100 NVL",
                            "NVIDIA A100-SXM4-80GB MIG 1g.10gb", "Tesla V100-SXM2-32GB", "NVIDIA GeForce RTX 2080"})
    EXPECT_EQ(tflops(other), 0) << other;
  const FoundPeak found =
      find_peak(two_ranks(DeviceKind::kCuda), ".", "cuda NVIDIA H200, 140 GB, sm_90, driver for CUDA 12.8", "x");
  ASSERT_TRUE(found.peak);
  EXPECT_NEAR(found.peak->flops_per_s, 989.4e12, 1e12);
  EXPECT_EQ(found.peak->source, "built-in h200-sxm");
}

TEST(JobPeak, TheHeaderOfTheMetricsSaysWhich) {
  const ScratchFolder folder;
  const MetricsHeader header{.version = "1",
                             .commit = "a",
                             .layout = {},
                             .model = "tiny",
                             .num_parameters = 1,
                             .peak = JobPeak{0.25e12, "measured.json"}};
  { MetricsWriter writer(folder / "metrics.jsonl", header); }
  const auto line = nlohmann::json::parse(testing::read_file(folder / "metrics.jsonl"));
  EXPECT_DOUBLE_EQ(line["peak_tflops"].get<double>(), 0.25);
  EXPECT_EQ(line["peak_source"], "measured.json");
}

}  // namespace
}  // namespace trine
