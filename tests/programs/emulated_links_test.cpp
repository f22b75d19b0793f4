// train_llama --emulate-links: real training, on links that take the time of a cluster's.
#include "tests/cluster/cpu_profiles.h"
#include "tests/programs/mpirun.h"

namespace trine {
namespace {

using nlohmann::json;

class EmulatedLinks : public ProgramTest {
 protected:
  static constexpr const char* kTrain =
      "train_llama --layers 2 --hidden 64 --heads 4 --kv-heads 4 --ffn 128 --seq 64 --global-batch 4 --micro-batch 2 "
      "--threads 1 --data text-train --steps 6 --log-interval 1 ";

  struct Told {
    std::vector<double> losses;
    std::vector<double> grad_norms;
    // Communication on the axis. Of the quickest step: others on the machine only ever make one longer.
    double step_s = 1e9, exposed_s = 1e9, comm_s = 1e9;
    double most_comm_s = 0;  // of any step
  };
  Told train(const std::string& launch, const std::string& flags, const std::string& out,
             const std::string& axis) const {
    const Ran ran = in_folder("(" + launch + kTrain + flags + " --out " + out + ")");
    EXPECT_EQ(ran.code, 0) << ran.text;
    Told told;
    for (const json& line : json_lines(folder_ / out / "metrics.jsonl"))
      if (line.contains("step_s")) {
        told.losses.push_back(line["loss"]), told.grad_norms.push_back(line["grad_norm"]);
        const double exposed_s = line["comm_" + axis + "_s"];
        told.step_s = std::min<double>(told.step_s, line["step_s"]);
        told.exposed_s = std::min(told.exposed_s, exposed_s);
        const double comm_s = exposed_s + line["hidden_comm"][axis + "_s"].get<double>();
        told.comm_s = std::min(told.comm_s, comm_s), told.most_comm_s = std::max(told.most_comm_s, comm_s);
      }
    return told;
  }
};

// Bits stay, and what a step sends takes the links' time: twice as long when they are twice as slow.
TEST_F(EmulatedLinks, TakeTheirTimeAndChangeNoBit) {
  prepare();
  for (const auto& [layout, axis] : {std::pair{"--tp 2 ", "tp"}, std::pair{"--pp 2 ", "pp"}}) {
    const std::string name = axis, local = "", two = std::string(layout) + "--local-ranks 2 ";
    const Told plain = train(local, two, "plain-" + name, axis);
    const Told once = train(local, two + "--emulate-links rtx4090 --dilation 300 --trace on", "once-" + name, axis);
    const Told twice =
        train(mpirun(2), std::string(layout) + "--emulate-links rtx4090 --dilation 600", "twice-" + name, axis);
    EXPECT_EQ(once.losses, plain.losses) << axis;
    EXPECT_EQ(twice.losses, plain.losses) << axis;
    EXPECT_GT(once.comm_s, 1.5 * plain.comm_s) << axis;
    // Waiting for the other rank's compute is part of neither.
    EXPECT_NEAR(twice.comm_s / once.comm_s, 2, 0.4) << axis;
    const json header = json_lines(folder_ / ("once-" + name) / "metrics.jsonl")[0];
    EXPECT_EQ(header["emulate_links"], "rtx4090");
    EXPECT_EQ(header["dilation"], 300);
    // Its trace says so too, and the report tells both clocks.
    const Ran report = in_folder("trace_report once-" + name + " --json");
    ASSERT_EQ(report.code, 0) << report.text;
    const json told = json::parse(report.text);
    EXPECT_EQ(told["emulate_links"], "rtx4090");
    EXPECT_EQ(told["dilation"], 300);
    EXPECT_NE(in_folder("trace_report once-" + name).text.find(std::string(told["clocks"])), std::string::npos);
  }
}

// Bytes count, and not only messages; and messages of an edge move one behind the other, however early they were
// posted. With --dry-run the same command says what to expect.
TEST_F(EmulatedLinks, TakeWhatTheirDryRunSays) {
  prepare();
  std::ofstream(folder_ / "cores.json") << testing::four_cores();
  struct Case {
    const char *flags, *axis;
  };
  const std::string common = "--seq 1024 --micro-batch 1 --emulate-links rtx4090 --dilation 200 ";
  for (const auto& [flags, axis] : {Case{"--global-batch 2 --tp 2 ", "tp"},
                                    Case{"--global-batch 8 --pp 2 --schedule gpipe --dilation 800 ", "pp"},
                                    Case{"--global-batch 2 --zero 1 --dilation 800 ", "dp"}}) {
    const std::string name = axis;
    const Told paced = train("", common + flags + "--local-ranks 2", "paced-" + name, axis);
    const Ran dry =
        in_folder(std::string(kTrain) + common + flags + "--ranks 2 --dry-run --json --cluster cores.json");
    ASSERT_EQ(dry.code, 0) << dry.text;
    const json predicted = json::parse(dry.text)["predicted"];
    EXPECT_EQ(predicted["emulate_links"], "rtx4090");
    EXPECT_GT(predicted["dilation"], 199);
    const double comm_s = predicted["mean"]["comm_" + name + "_s"];
    ASSERT_GT(comm_s, 0.02) << axis;
    EXPECT_GT(paced.most_comm_s, 0.6 * comm_s) << axis;  // it counts as bubble where a busy machine sends late
    EXPECT_LT(paced.exposed_s, 1.4 * comm_s) << axis;    // a busy machine is late, never early
    EXPECT_GT(paced.step_s, 0.9 * predicted["step_s"].get<double>()) << axis;
  }
}

// In every dtype, to the last bit of the last checkpoint.
TEST_F(EmulatedLinks, KeepTheBitsOfEveryDtype) {
  prepare();
  for (const std::string dtype : {"f32", "bf16", "fp16"}) {
    const std::string flags = "--dtype " + dtype + " --tp 2 --pp 2 --save-interval 6 --local-ranks 4 ";
    const Told plain = train("", flags, "plain-" + dtype, "tp");
    const Told paced = train(
        mpirun(4), "--dtype " + dtype + " --tp 2 --pp 2 --save-interval 6 --emulate-links rtx4090 --dilation 300",
        "paced-" + dtype, "tp");
    EXPECT_EQ(paced.losses, plain.losses) << dtype;
    EXPECT_EQ(paced.grad_norms, plain.grad_norms) << dtype;
    const Ran same = in_folder("checkpoint_tool diff plain-" + dtype + " paced-" + dtype);
    EXPECT_EQ(same.code, 0) << same.text;
  }
}

TEST_F(EmulatedLinks, FindTheirDilation) {
  prepare();
  const Ran ran = in_folder(std::string(kTrain) + "--tp 2 --local-ranks 2 --emulate-links rtx4090 --out found");
  ASSERT_EQ(ran.code, 0) << ran.text;
  EXPECT_NE(ran.text.find("times slower than real time"), ran.text.npos) << ran.text;
  EXPECT_GT(json_lines(folder_ / "found" / "metrics.jsonl")[0]["dilation"], 1);
  EXPECT_GT(json::parse(read_file(folder_ / "found" / "config.json"))["dilation"], 1);
  // As a run does, and says so.
  const Ran dry = in_folder(std::string(kTrain) + "--tp 2 --ranks 2 --emulate-links rtx4090 --dry-run");
  ASSERT_EQ(dry.code, 0) << dry.text;
  EXPECT_NE(dry.text.find("times slower than real time"), dry.text.npos) << dry.text;
  const Ran gpus = in_folder(std::string(kTrain) + "--ranks 2 --emulate-links rtx4090 --dry-run --cluster rtx4090");
  EXPECT_EQ(gpus.code, 2) << gpus.text;
  EXPECT_NE(gpus.text.find("what measure_cluster wrote"), gpus.text.npos) << gpus.text;
  for (const char* flags : {"--emulate-links nowhere", "--emulate-links rtx4090 --device cuda", "--dilation 3",
                            "--emulate-links rtx4090 --dilation 0"})
    EXPECT_EQ(in_folder(std::string(kTrain) + "--tp 2 --local-ranks 2 " + flags).code, 2) << flags;
}

}  // namespace
}  // namespace trine
