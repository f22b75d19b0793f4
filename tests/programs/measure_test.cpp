#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/programs/run.h"

namespace trine {
namespace {

using ::testing::HasSubstr;

using MeasureCluster = ProgramTest;

// What it writes is a cluster for train_llama: on as many ranks as it measured, nothing is guessed.
TEST_F(MeasureCluster, WritesAProfileThatPredictsARun) {
  const std::string file = (folder_ / "measured.json").string();
  const Ran measured = run("measure_cluster --quick --model tiny --out " + file);
  ASSERT_EQ(measured.code, 0) << measured.text;
  EXPECT_THAT(measured.text, HasSubstr("all_reduce"));
  const auto profile = nlohmann::json::parse(read_file(file));
  EXPECT_TRUE(profile["findings"].is_array());
  const int cores = profile["cpu"]["cores"]["value"].get<int>();
  const Ran predicted =
      run("train_llama --model tiny --dry-run --json --ranks " + std::to_string(cores) + " --cluster " + file);
  ASSERT_EQ(predicted.code, 0) << predicted.text;
  const auto json = nlohmann::json::parse(predicted.text)["predicted"];
  EXPECT_EQ(json["certainty"]["class"], "calibrated") << predicted.text;
  EXPECT_TRUE(json["fits"].get<bool>());
  EXPECT_GT(json["mean"]["compute_s"].get<double>(), 0.5 * json["step_s"].get<double>());

  // A run beside it says which share of the peak its model takes, and whose peak that is.
  prepare("");
  const Ran trained = in_folder(std::string(kSmall) + "--steps 2 --local-ranks 2 --tp 2");
  ASSERT_EQ(trained.code, 0) << trained.text;
  EXPECT_THAT(trained.text, HasSubstr("(measured.json)"));
  EXPECT_THAT(trained.text, HasSubstr("MFU "));
  std::ifstream metrics(folder_ / "out" / "metrics.jsonl");
  std::string header, line;
  std::getline(metrics, header), std::getline(metrics, line);
  const auto peak = nlohmann::json::parse(header), step = nlohmann::json::parse(line);
  EXPECT_EQ(peak["peak_source"], "measured.json");
  EXPECT_NEAR(step["mfu"].get<double>(), step["tflops"].get<double>() / peak["peak_tflops"].get<double>(), 1e-9);
}

TEST_F(MeasureCluster, ARunHasItsOwnClustersPeak) {
  const Ran other = in_folder("train_llama --steps 2 --cluster rtx4090");
  EXPECT_EQ(other.code, 2);
  EXPECT_THAT(other.text, HasSubstr("--cluster rtx4090 has GPUs, but --device is cpu"));
}

TEST_F(MeasureCluster, MistakesAreConfigurationErrors) {
  EXPECT_EQ(run("measure_cluster --help").code, 0);
  EXPECT_THAT(run("measure_cluster --qick").text, HasSubstr("--quick"));
  EXPECT_EQ(run("measure_cluster --tp 0").code, 2);
  const Ran none = in_folder("measure_cluster --quick --model nothing-like-this");
  EXPECT_EQ(none.code, 2) << none.text;
  EXPECT_EQ(in_folder("measure_cluster --quick --model tiny --tp 3").code, 2);
}

}  // namespace
}  // namespace trine
