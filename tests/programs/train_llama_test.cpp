// train_llama as a user meets it: what it leaves behind, and that the same run gives the same numbers.
#include "tests/programs/mpirun.h"
#include "tests/test_data.h"

namespace trine {
namespace {

using TrainLlama = ProgramTest;

std::vector<double> losses(const std::filesystem::path& file) {
  std::vector<double> list;
  for (const auto& line : json_lines(file))
    if (line.contains("loss")) list.push_back(line["loss"]);
  return list;
}

TEST_F(TrainLlama, LeavesTheRunFolderOfTheInterface) {
  prepare();
  const Ran ran = in_folder(std::string(kSmall) +
                            "--valid-data text-valid --steps 6 --valid-interval 3 --trace 2:4 --trace-format json");
  ASSERT_EQ(ran.code, 0) << ran.text;
  const auto metrics = json_lines(folder_ / "out/metrics.jsonl");
  ASSERT_EQ(metrics.size(), 1u + 6 + 2);
  for (const char* key : {"version", "commit", "layout", "model", "parameters"})
    EXPECT_TRUE(metrics[0].contains(key)) << key << " in " << metrics[0];
  int64_t step = 0;
  for (const auto& line : metrics) {
    if (!line.contains("loss")) continue;
    EXPECT_EQ(line["step"], ++step);
    EXPECT_EQ(line["tokens"], step * 4 * 32);
    double sum = 0;
    for (const char* part : {"compute_s", "recompute_s", "comm_tp_s", "comm_pp_s", "comm_dp_s", "wait_s",
                             "bubble_s", "optimizer_s", "data_s", "host_s", "checkpoint_s", "idle_s"})
      sum += double(line[part]);
    EXPECT_NEAR(sum, double(line["step_s"]), 1e-9);
    EXPECT_GT(double(line["compute_s"]), 0);
    EXPECT_LT(double(line["idle_s"]), 0.5 * double(line["step_s"])) << "most of a step must have a name";
  }
  EXPECT_EQ(step, 6);
  EXPECT_TRUE(metrics.back().contains("valid_loss"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "out/log.txt"));

  const auto trace = nlohmann::json::parse(read_file(folder_ / "out/trace/rank-0000.json"));
  EXPECT_TRUE(trace.contains("distributedInfo"));
  std::set<int> traced;
  for (const auto& event : trace["traceEvents"])
    if (event.contains("args") && event["args"].contains("step")) traced.insert(int(event["args"]["step"]));
  EXPECT_EQ(traced, (std::set<int>{2, 3, 4}));
}

TEST_F(TrainLlama, ConfigOfTheRunFolderRepeatsTheRunBitForBit) {
  prepare();
  ASSERT_EQ(in_folder(std::string(kSmall) + "--steps 5").code, 0);
  const Ran again = in_folder("train_llama --config out/config.json --out again");
  ASSERT_EQ(again.code, 0) << again.text;
  EXPECT_EQ(losses(folder_ / "out/metrics.jsonl"), losses(folder_ / "again/metrics.jsonl"));
  EXPECT_EQ(losses(folder_ / "out/metrics.jsonl").size(), 5u);
}

TEST_F(TrainLlama, MicrobatchAndPrecisionDoNotChangeTheModel) {
  prepare();
  const std::string base = std::string(kSmall) + "--steps 20 --lr 3e-4 --warmup 20 ";
  ASSERT_EQ(in_folder(base + "--dtype f32 --out a --micro-batch 4").code, 0);
  ASSERT_EQ(in_folder(base + "--dtype f32 --out b --micro-batch 1").code, 0);
  ASSERT_EQ(in_folder(base + "--dtype bf16 --out c").code, 0);
  ASSERT_EQ(in_folder(base + "--dtype fp16 --out d").code, 0);
  const auto a = losses(folder_ / "a/metrics.jsonl"), b = losses(folder_ / "b/metrics.jsonl"),
             c = losses(folder_ / "c/metrics.jsonl"), d = losses(folder_ / "d/metrics.jsonl");
  ASSERT_EQ(a.size(), 20u);
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_NEAR(b[i] / a[i], 1, 1e-5) << i;
    EXPECT_NEAR(c[i] / a[i], 1, 2e-3) << i;
    EXPECT_NEAR(d[i] / a[i], 1, 2e-3) << i;
  }
  EXPECT_LT(a.back(), a.front() - 0.1);
}

// Switching an optional pass off changes where values lie and nothing else.
TEST_F(TrainLlama, InPlacePassChangesNoBit) {
  prepare();
  ASSERT_EQ(in_folder(std::string(kSmall) + "--steps 5 --out a").code, 0);
  ASSERT_EQ(in_folder(std::string(kSmall) + "--steps 5 --out b --disable-pass in-place").code, 0);
  EXPECT_EQ(losses(folder_ / "a/metrics.jsonl"), losses(folder_ / "b/metrics.jsonl"));
}

TEST_F(TrainLlama, LooksWithoutTraining) {
  const Ran graph = in_folder("train_llama --print-graph");
  EXPECT_EQ(graph.code, 0);
  EXPECT_NE(graph.text.find("attention_grad("), std::string::npos);
  EXPECT_NE(graph.text.find("microbatch, phase I"), std::string::npos);
  const Ran memory = in_folder("train_llama --print-memory");
  EXPECT_EQ(memory.code, 0);
  EXPECT_NE(memory.text.find("Adam: master weights"), std::string::npos);
  EXPECT_NE(memory.text.find("total (peak of the arena)"), std::string::npos);
  const Ran plan = in_folder("train_llama --print-plan --dump-pass buckets");
  EXPECT_EQ(plan.code, 0);
  EXPECT_NE(plan.text.find("=== after buckets ==="), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "runs"));
}

TEST_F(TrainLlama, LoadsHuggingFaceWeights) {
  const std::string model = test_data() + "/hf_llama/deep";
  prepare("--valid-fraction 0.2");
  const Ran ran = in_folder(
      "train_llama --load-weights " + model +
      " --data text-train --valid-data text-valid --seq 32 --global-batch 4 --threads 1 --eval-only --dtype f32");
  ASSERT_EQ(ran.code, 0) << ran.text;
  EXPECT_NE(ran.text.find("396,736 parameters"), std::string::npos) << ran.text;
  EXPECT_NE(ran.text.find("validation loss"), std::string::npos);
}

TEST_F(TrainLlama, StopsOnSignalAndStopFile) {
  prepare();
  const std::string endless = std::string(kSmall) + "--steps 1000000 ";
  for (const char* signal : {"INT", "TERM", "USR1"}) {
    const std::string out = std::string("stop-") + signal;
    const Ran ran =
        in_folder(endless + "--out " + out + " & pid=$!; for i in $(seq 100); do sleep 0.1; grep -q loss " + out +
                  "/metrics.jsonl && break; done; kill -" + signal + " $pid; wait $pid");
    EXPECT_EQ(ran.code, 0) << signal << ": " << ran.text;  // nothing could be saved yet
    EXPECT_NE(ran.text.find(std::string("SIG") + signal), std::string::npos) << ran.text;
  }
  const Ran ran = in_folder(endless +
                            "--out f & pid=$!; for i in $(seq 100); do sleep 0.1; grep -q loss f/metrics.jsonl && "
                            "break; done; touch f/stop; wait $pid");
  EXPECT_EQ(ran.code, 0) << ran.text;
  EXPECT_NE(ran.text.find("stop file"), std::string::npos) << ran.text;
}

TEST_F(TrainLlama, RunsUnderMpirunAsOneRank) {
  prepare();
  const Ran one = in_folder(mpirun(1) + kSmall + "--steps 3");
  EXPECT_EQ(one.code, 0) << one.text;
}

}  // namespace
}  // namespace trine
