// trace_report on traces of real runs, some of them with a disease made from outside.
#include <gmock/gmock.h>
#include <random>

#include "tests/cluster/cpu_profiles.h"
#include "tests/data/scratch.h"
#include "tests/programs/mpirun.h"

namespace trine {
namespace {

using ::testing::HasSubstr;

class TraceReport : public ProgramTest {
 protected:
  static constexpr const char* kTrain =
      "train_llama --layers 4 --hidden 64 --heads 4 --kv-heads 2 --ffn 128 --seq 64 --global-batch 8 --micro-batch "
      "1 "
      "--threads 1 --valid-fraction 0 --data text-train --out out --trace on ";

  nlohmann::json report(const std::string& flags = "") const {
    const Ran ran = in_folder("trace_report out --json " + flags);
    EXPECT_EQ(ran.code, 0) << ran.text;
    return nlohmann::json::parse(ran.text);
  }
};

TEST_F(TraceReport, SaysWhatMetricsSay) {
  prepare();
  const Ran ran = in_folder(std::string(kTrain) + "--local-ranks 4 --tp 2 --pp 2 --steps 4");
  ASSERT_EQ(ran.code, 0) << ran.text;
  const nlohmann::json json = report();
  size_t step = 0;
  for (const auto& line : json_lines(folder_ / "out/metrics.jsonl")) {
    if (!line.contains("loss")) continue;
    const auto& of = json["steps"].at(step++);
    EXPECT_EQ(of["step"], line["step"]);
    EXPECT_NEAR(of["step_s"], line["step_s"], 1e-6);
    for (const auto& [key, value] : of["mean"].items()) EXPECT_NEAR(value, line[key], 1e-9) << key;
  }
  EXPECT_EQ(json["steps"].size(), step);
  EXPECT_EQ(json["pipeline"]["schedule"], "1f1b");
  EXPECT_EQ(json["pipeline"]["microbatches"], 8);

  // Steps, ranks, files and folders.
  const nlohmann::json part = report("--steps 2:3 --ranks 1,3");
  EXPECT_EQ(part["steps"].size(), 2u);
  EXPECT_EQ(part["ranks"], (std::vector{1, 3}));
  EXPECT_EQ(part["steps"][0]["ranks"][1], json["steps"][1]["ranks"][3]);
  const Ran text = in_folder("trace_report out/trace");
  EXPECT_EQ(text.code, 0);
  EXPECT_TRUE(text.text.starts_with("A step takes ")) << text.text;
  const Ran file = in_folder("trace_report out/trace/rank-0002.json.gz --top 3");
  EXPECT_EQ(file.code, 0) << file.text;
  EXPECT_THAT(file.text, HasSubstr("1 of 4 ranks"));
  const Ran changes = in_folder("trace_report out --steps 4 --diff out --diff-steps 2 --json");
  EXPECT_NEAR(nlohmann::json::parse(changes.text)["diff"]["before_s"], json["steps"][1]["step_s"], 1e-9);

  // One file for Perfetto: all events of all ranks, each once.
  ASSERT_EQ(in_folder("trace_report out --merge all.json.gz; gunzip all.json.gz").code, 0);
  const auto merged = nlohmann::json::parse(read_file(folder_ / "all.json"));
  std::map<int, int> kernels;
  for (const auto& event : merged["traceEvents"])
    if (event.value("cat", "") == "kernel") ++kernels[int(event["pid"])];
  EXPECT_EQ(kernels.size(), 4u);
  const Ran again = in_folder("trace_report all.json");
  EXPECT_EQ(again.code, 3);
  EXPECT_THAT(again.text, HasSubstr("Name the run"));
}

// On a made profile of CPUs: what matters is that plan, profile and trace come together.
TEST_F(TraceReport, ExplainsARunByTheProfileOfItsMachine) {
  prepare();
  ASSERT_EQ(in_folder(std::string(kTrain) + "--local-ranks 2 --tp 2 --steps 3").code, 0);
  testing::write_file(folder_ / "here.json", testing::four_cores().dump());
  const nlohmann::json json = report("--cluster here.json");
  double sum = 0;
  for (const auto& part : json["explain"]) sum += part["s"].get<double>();
  EXPECT_NEAR(sum, json["step_s"], 1e-9);
  EXPECT_EQ(json["explain"][0]["part"], "peak");
  EXPECT_GT(json["predicted"]["step_s"], 0);
  EXPECT_GT(json["predicted"]["mfu"], 0);
  const Ran text = in_folder("trace_report out --cluster here.json");
  EXPECT_THAT(text.text, HasSubstr("arithmetic at the devices' peak"));
  // Without one, the parts still sum; a trace alone has no plan, and GPUs are not what it ran on.
  EXPECT_TRUE(report()["predicted"].is_null());
  const Ran gpus = in_folder("trace_report out --cluster rtx4090");
  EXPECT_EQ(gpus.code, 2);
  EXPECT_THAT(gpus.text, HasSubstr("is one of GPUs, but the run was one on CPUs"));
  const Ran alone = in_folder("cp -r out/trace alone; trace_report alone --cluster here.json");
  EXPECT_EQ(alone.code, 2);
  EXPECT_THAT(alone.text, HasSubstr("there is no config.json"));
  EXPECT_EQ(in_folder("trace_report out --cluster nowhere.json").code, 2);
}

// Four RTX 4090 that split every layer: another layout is named, by the prediction and by the report on its trace.
TEST_F(TraceReport, NamesALayoutThatIsFaster) {
  const std::string dry =
      "train_llama --model llama2-7b --layers 4 --ranks 4 --tp 4 --global-batch 16 --micro-batch 1 --seq 1024 "
      "--dry-run --cluster rtx4090 ";
  const auto layouts_of = [](const nlohmann::json& predicted) {
    std::vector<std::string> changes;
    for (const auto& one : predicted["what_if"])
      if (one["id"] == "layout") changes.push_back(one["change"]);
    return changes;
  };
  const auto predicted = [&](const std::string& flags) {
    const Ran ran = in_folder(dry + "--json " + flags);
    EXPECT_EQ(ran.code, 0) << ran.text;
    return nlohmann::json::parse(ran.text)["predicted"];
  };
  const nlohmann::json all = predicted("--predict-trace out");
  ASSERT_EQ(layouts_of(all).size(), 1u);
  EXPECT_EQ(layouts_of(report()["predicted"]), layouts_of(all));
  const nlohmann::json own = predicted("--what-if layout"), none = predicted("--what-if off");
  EXPECT_TRUE(layouts_of(own).empty());
  EXPECT_FALSE(own["what_if"].empty());
  EXPECT_TRUE(none["what_if"].empty() && none["link_curves"].empty());
  EXPECT_EQ(none["step_s"], own["step_s"]);
  // The flags that it names make the step that it promises.
  const std::string other = layouts_of(all)[0].substr(std::string("another layout: ").size());
  const Ran there = in_folder(
      "train_llama --model llama2-7b --layers 4 --ranks 4 --global-batch 16 --seq 1024 --dry-run --json --what-if off "
      "--cluster rtx4090 " +
      other);
  ASSERT_EQ(there.code, 0) << there.text;
  for (const auto& one : all["what_if"])
    if (one["id"] == "layout") {
      EXPECT_EQ(nlohmann::json::parse(there.text)["predicted"]["step_s"], one["step_s"]);
    }
  EXPECT_EQ(in_folder("train_llama --model tiny --what-if off").code, 2);
}

TEST_F(TraceReport, RefusesWhatItCannotRead) {
  prepare();
  const Ran ran = in_folder(std::string(kTrain) + "--local-ranks 2 --tp 2 --steps 2 --trace-format json");
  ASSERT_EQ(ran.code, 0) << ran.text;
  for (const char* flags :
       {"", "out --top 0", "out --steps 3:2", "out --ranks x", "out --diff-steps 1", "out --step 1",
        "out --steps 0", "out --steps :", "out --steps 1:2:3", "out --steps 2:x"}) {
    const Ran refused = in_folder(std::string("trace_report ") + flags);
    EXPECT_EQ(refused.code, 2) << flags << refused.text;
  }
  for (const char* flags : {"nowhere", "out --steps 9", "out --ranks 7", "text-train.bin", "out --diff nowhere",
                            "out --merge nowhere/x/../../text-train.bin/y.json"}) {
    const Ran refused = in_folder(std::string("trace_report ") + flags);
    EXPECT_EQ(refused.code, 3) << flags << refused.text;
  }
  // Cut, and with bytes that are wrong.
  const std::string whole = read_file(folder_ / "out/trace/rank-0001.json");
  std::mt19937 random(7);
  for (int i = 0; i < 60; ++i) {
    std::string damaged = whole;
    if (i % 2 == 0) {
      damaged.resize(random() % whole.size());
    } else {
      for (int k = 0; k < 30; ++k) damaged[random() % whole.size()] = "0{}[]\",:9-e"[random() % 11];
    }
    std::ofstream(folder_ / "bad.json", std::ios::binary) << damaged;
    const Ran refused = in_folder("trace_report bad.json");
    EXPECT_TRUE(refused.code == 3 || (refused.code == 0 && i % 2 == 1)) << refused.code << refused.text;
  }
}

// Each of these is a process or a link that is slow from outside: the program knows nothing of it.
TEST_F(TraceReport, ARankThatIsStoppedInTurns) {
  prepare();
  Job job(folder_, mpirun(2) + kTrain + "--steps 40 --pp 2");
  int stops = 0;
  for (int step = 4; step <= 36; step += 8, ++stops) {
    job.wait_for_step(step);
    const auto stopped = job.stop_at(1, [](const RankStatus& now) { return now.waits.empty(); });
    ASSERT_TRUE(stopped) << job.printed();
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    ::kill(stopped->process.pid, SIGCONT);
  }
  ASSERT_EQ(job.wait(), 0) << job.printed();
  const nlohmann::json json = report();
  EXPECT_EQ(json["findings"][0]["rank"], 1) << json["findings"];
  EXPECT_NEAR(json["stragglers"][0]["late_s"], stops * 0.4 / 40, 0.02);
  EXPECT_EQ(json["stragglers"][0]["rank"], 1);
  EXPECT_EQ(json["stragglers"][0]["steady"], false);
}

// A predicted step: a real one of a busy machine is as slow as what else runs beside it.
TEST_F(TraceReport, AStageWithMoreLayers) {
  const Ran ran = in_folder(
      "train_llama --model llama2-7b --layers 3 --ranks 2 --pp 2 --global-batch 16 --micro-batch 1 --dry-run "
      "--cluster rtx4090 --predict-trace out");
  ASSERT_EQ(ran.code, 0) << ran.text;
  const nlohmann::json json = report();
  const nlohmann::json& finding = json["findings"][0];
  EXPECT_EQ(finding["stage"], 0) << finding;
  EXPECT_THAT(std::string(finding["text"]), HasSubstr("it has 2 layers, the others 1"));
  // What one layer more costs: not the head, which the other stage has.
  const nlohmann::json& stages = json["pipeline"]["stages"];
  EXPECT_EQ(stages[0]["layers"], 2);
  EXPECT_GT(stages[0]["s_per_microbatch"].get<double>(), 1.1 * stages[1]["s_per_microbatch"].get<double>());
}

TEST_F(TraceReport, ASlowLink) {
  prepare();
  const Ran ran = in_folder("export LD_PRELOAD=" TRINE_FAULTS
                            " TRINE_FAULT=MPI_Isend:1:delay:on TRINE_FAULT_IN=MPI TRINE_FAULT_RANK=3; " +
                            mpirun(4) + kTrain + "--steps 4 --tp 2 --dp 2");
  ASSERT_EQ(ran.code, 0) << ran.text;
  const nlohmann::json json = report("--steps 2:");
  EXPECT_EQ(json["findings"][0]["axis"], "tp") << json["findings"];
  EXPECT_THAT(std::string(json["findings"][0]["text"]), HasSubstr("ranks 2, 3"));
}

TEST_F(TraceReport, SlowData) {
  prepare();
  const Ran ran =
      in_folder("export LD_PRELOAD=" TRINE_FAULTS " TRINE_FAULT=read:1:delay:on TRINE_FAULT_IN=text-train.bin; " +
                mpirun(2) + kTrain + "--steps 4 --tp 2");
  ASSERT_EQ(ran.code, 0) << ran.text;
  // Not always the first: on a busy machine small kernels take longer than these reads.
  const nlohmann::json findings = report("--steps 2:")["findings"];
  const auto data = std::ranges::find(findings, "data", [](const auto& finding) { return finding["kind"]; });
  ASSERT_NE(data, findings.end()) << findings;
  EXPECT_THAT(std::string((*data)["text"]), HasSubstr("data"));
}

TEST_F(TraceReport, TinyMicrobatches) {
  prepare();
  const Ran ran =
      in_folder(std::string(kTrain) +
                "--local-ranks 2 --tp 2 --hidden 16 --heads 2 --ffn 32 --seq 16 --global-batch 64 --steps 4");
  ASSERT_EQ(ran.code, 0) << ran.text;
  EXPECT_THAT(std::string(report("--steps 2:")["findings"][0]["text"]), HasSubstr("--micro-batch"));
}

}  // namespace
}  // namespace trine
