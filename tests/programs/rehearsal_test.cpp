// train_llama --device rehearsal: the program as a user runs it, on devices that only take their time.
#include "tests/programs/mpirun.h"

namespace trine {
namespace {

using nlohmann::json;

class Rehearsal : public ProgramTest {
 protected:
  static constexpr const char* kRehearse =
      "train_llama --model llama2-7b --layers 4 --seq 512 --global-batch 4 --tp 2 --pp 2 --threads 1 --device rehearsal "
      "--cluster rtx4090 ";

  // Steps of metrics.jsonl, behind the header.
  std::vector<json> steps(const std::string& out) const {
    std::vector<json> lines = json_lines(folder_ / out / "metrics.jsonl");
    std::erase_if(lines, [](const json& line) { return !line.contains("step_s"); });
    return lines;
  }
};

TEST_F(Rehearsal, WritesARunFolderWithoutALoss) {
  const Ran ran =
      in_folder(std::string(kRehearse) + "--local-ranks 4 --steps 3 --out out --trace on --log-interval 1");
  ASSERT_EQ(ran.code, 0) << ran.text;
  EXPECT_NE(ran.text.find("| loss - |"), ran.text.npos) << ran.text;
  EXPECT_NE(ran.text.find("RTX 4090, modelled"), ran.text.npos) << ran.text;
  EXPECT_EQ(json_lines(folder_ / "out" / "metrics.jsonl")[0]["rehearsal"], "rtx4090");
  const std::vector<json> lines = steps("out");
  ASSERT_EQ(lines.size(), 3u);
  for (const json& line : lines) {
    EXPECT_TRUE(line["loss"].is_null());
    EXPECT_TRUE(line["grad_norm"].is_null());
    EXPECT_GT(line["mfu"], 0);
    EXPECT_GT(line["compute_s"], 0);
    EXPECT_GT(line["comm_tp_s"], 0);
  }
  const Ran dry = in_folder(
      "train_llama --model llama2-7b --layers 4 --seq 512 --global-batch 4 --tp 2 --pp 2 --threads 1 --ranks 4 "
      "--dry-run --json --cluster rtx4090");
  ASSERT_EQ(dry.code, 0) << dry.text;
  const json mean = json::parse(dry.text)["predicted"]["mean"];
  for (const char* part : {"compute_s", "comm_tp_s", "optimizer_s"})
    EXPECT_NEAR(lines[1][part].get<double>() / mean[part].get<double>(), 1, 0.02) << part;
  const Ran report = in_folder("trace_report out --json");
  ASSERT_EQ(report.code, 0) << report.text;
  EXPECT_EQ(json::parse(report.text)["steps"].size(), 3u);
}

TEST_F(Rehearsal, ProcessesSaveManifestsAndGoOn) {
  const std::string rehearse =
      mpirun(4) + kRehearse +
      "--hidden 512 --heads 8 --kv-heads 8 --ffn 1024 --vocab 512 --out out --save-interval 2 --resume auto --valid-fraction 0.1 ";
  const Ran first = in_folder("(" + rehearse + "--steps 3)");
  ASSERT_EQ(first.code, 0) << first.text;
  EXPECT_NE(first.text.find("validation took"), first.text.npos) << first.text;
  const Ran second = in_folder("(" + rehearse + "--steps 5)");
  ASSERT_EQ(second.code, 0) << second.text;
  EXPECT_NE(second.text.find("after step 3"), second.text.npos) << second.text;
  ASSERT_EQ(steps("out").size(), 5u);
  EXPECT_EQ(steps("out").back()["tokens"], 5 * 4 * 512);
  const json manifest = json::parse(read_file(folder_ / "out" / "checkpoints" / "step-000005" / "manifest.json"));
  EXPECT_EQ(manifest["tensors"].size(), 0u);
  // A training does not go on from it.
  prepare();
  const Ran training = in_folder(
      "train_llama --resume out --device cpu --data text-train --steps 6 --out other "
      "--local-ranks 4");
  EXPECT_EQ(training.code, 2) << training.text;
}

TEST_F(Rehearsal, SaysWhatItCannotDo) {
  const Ran large = in_folder(
      "train_llama --model llama2-70b --tp 2 --pp 2 --local-ranks 4 --device rehearsal --cluster rtx4090");
  EXPECT_EQ(large.code, 4) << large.text;
  EXPECT_NE(large.text.find("device.memory_gib=80"), large.text.npos) << large.text;
  EXPECT_NE(large.text.find("workspace of kernels"), large.text.npos) << large.text;
  for (const char* flags :
       {"--load-weights out", "--eval-only", "--comm mpi", "--cluster nowhere", "--slow 9:2", "--slow 0:0.5"}) {
    const Ran ran = in_folder(std::string(kRehearse) + "--local-ranks 4 " + flags);
    EXPECT_EQ(ran.code, 2) << flags << "\n" << ran.text;
  }
  EXPECT_EQ(in_folder("train_llama --device rehearsal").code, 2);
}

TEST_F(Rehearsal, ASlowRankHoldsUpTheOthers) {
  const auto run = [&](const std::string& flags, const std::string& out) {
    const Ran ran = in_folder(std::string(kRehearse) + "--local-ranks 4 --steps 2 --out " + out + flags);
    EXPECT_EQ(ran.code, 0) << ran.text;
    return steps(out).back();
  };
  const json usual = run("", "usual"), slow = run(" --slow 3:3", "slow");
  EXPECT_NEAR(slow["compute_s"].get<double>() / usual["compute_s"].get<double>(), (3 + 1 + 1 + 1) / 4.0, 0.1);
  EXPECT_GT(slow["step_s"].get<double>(), usual["step_s"].get<double>());
}

TEST_F(Rehearsal, GoesFasterAndVaries) {
  const auto compute = [&](const std::string& flags, const std::string& out) {
    const Ran ran = in_folder(std::string(kRehearse) + "--local-ranks 4 --steps 2 --seed 7 --out " + out + flags);
    EXPECT_EQ(ran.code, 0) << ran.text;
    return steps(out).back()["compute_s"].get<double>();
  };
  const double usual = compute("", "usual");
  EXPECT_NEAR(compute(" --speed-up 0.5", "slower") / usual, 2, 0.02);
  EXPECT_EQ(json_lines(folder_ / "slower" / "metrics.jsonl")[0]["speed_up"], 0.5);
  // Each kernel by 30 %, so the sum of hundreds by a few.
  const double varied = compute(" --jitter 0.3", "varied");
  EXPECT_NE(varied, usual);
  EXPECT_NEAR(varied / usual, 1, 0.15);
  const Ran fast = in_folder(std::string(kRehearse) + "--local-ranks 4 --speed-up 1000");
  EXPECT_EQ(fast.code, 2) << fast.text;
  EXPECT_NE(fast.text.find("At most --speed-up"), fast.text.npos) << fast.text;
  EXPECT_EQ(in_folder("train_llama --jitter 0.1").code, 2);
}

class EmulatedLinks : public ProgramTest {
 protected:
  static constexpr const char* kTrain =
      "train_llama --layers 2 --hidden 64 --heads 4 --kv-heads 4 --ffn 128 --seq 64 --global-batch 4 --micro-batch 2 "
      "--threads 1 --data text-train --steps 3 --log-interval 1 ";

  struct Told {
    std::vector<double> losses;
    double comm_s = 0;  // of the last step, on the axis
  };
  Told train(const std::string& launch, const std::string& flags, const std::string& out,
             const std::string& axis) const {
    const Ran ran = in_folder("(" + launch + kTrain + flags + " --out " + out + ")");
    EXPECT_EQ(ran.code, 0) << ran.text;
    Told told;
    for (const json& line : json_lines(folder_ / out / "metrics.jsonl"))
      if (line.contains("step_s")) {
        told.losses.push_back(line["loss"]);
        told.comm_s = line["comm_" + axis + "_s"].get<double>() + line["hidden_comm"][axis + "_s"].get<double>();
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
    const Told once = train(local, two + "--emulate-links rtx4090 --dilation 600", "once-" + name, axis);
    const Told twice =
        train(mpirun(2), std::string(layout) + "--emulate-links rtx4090 --dilation 1200", "twice-" + name, axis);
    EXPECT_EQ(once.losses, plain.losses) << axis;
    EXPECT_EQ(twice.losses, plain.losses) << axis;
    EXPECT_GT(once.comm_s, 2 * plain.comm_s) << axis;
    // Waiting for the other rank's compute is part of neither.
    EXPECT_NEAR(twice.comm_s / once.comm_s, 2, 0.4) << axis;
    const json header = json_lines(folder_ / ("once-" + name) / "metrics.jsonl")[0];
    EXPECT_EQ(header["emulate_links"], "rtx4090");
    EXPECT_EQ(header["dilation"], 600);
  }
}

// Bytes count, and not only messages: communication takes D times what the simulator says of the cluster.
TEST_F(EmulatedLinks, TakeWhatTheSimulatorSays) {
  prepare();
  const std::string model = "--seq 1024 --global-batch 2 --micro-batch 1 --tp 2 ";
  const Told paced = train("", model + "--local-ranks 2 --emulate-links rtx4090 --dilation 200", "paced", "tp");
  ASSERT_EQ(
      in_folder(std::string(kTrain) + model + "--ranks 2 --dry-run --cluster rtx4090 --predict-trace predicted")
          .code,
      0);
  const json report = json::parse(in_folder("trace_report predicted --json").text);
  const double predicted_s =
      report["mean"]["comm_tp_s"].get<double>() + report["hidden_comm"]["tp_s"].get<double>();
  EXPECT_GT(paced.comm_s, 0.9 * 200 * predicted_s);
  EXPECT_LT(paced.comm_s, 1.4 * 200 * predicted_s);  // a busy machine is late, never early
}

TEST_F(EmulatedLinks, FindTheirDilation) {
  prepare();
  const Ran ran = in_folder(std::string(kTrain) + "--tp 2 --local-ranks 2 --emulate-links rtx4090 --out found");
  ASSERT_EQ(ran.code, 0) << ran.text;
  EXPECT_NE(ran.text.find("times slower than real time"), ran.text.npos) << ran.text;
  EXPECT_GT(json_lines(folder_ / "found" / "metrics.jsonl")[0]["dilation"], 1);
  EXPECT_GT(json::parse(read_file(folder_ / "found" / "config.json"))["dilation"], 1);
  for (const char* flags : {"--emulate-links nowhere", "--emulate-links rtx4090 --device cuda", "--dilation 3",
                            "--emulate-links rtx4090 --dilation 0"})
    EXPECT_EQ(in_folder(std::string(kTrain) + "--tp 2 --local-ranks 2 " + flags).code, 2) << flags;
}

}  // namespace
}  // namespace trine
