// Runs that end before their time and go on: the same numbers as if nothing had happened, and what is said where it
// can not go on.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <map>

#include "tests/programs/mpirun.h"

namespace trine {
namespace {

using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

struct Line {
  int64_t step = 0;
  std::map<std::string, nlohmann::json> values;
  bool operator==(const Line&) const = default;
};

void PrintTo(const Line& line, std::ostream* out) {
  *out << "step " << line.step << " " << nlohmann::json(line.values);
}

class ResumeTest : public ProgramTest {
 protected:
  // Steps of some milliseconds, and more samples than an epoch has. It reads and writes all that a resume restores.
  static constexpr const char* kModel =
      "train_llama --layers 4 --hidden 64 --heads 4 --kv-heads 2 --ffn 128 --seq 32 --global-batch 32 "
      "--micro-batch 4 "
      "--threads 1 --data text-train --valid-data text-valid --valid-interval 5 --valid-batches 1 --lr 1e-2 ";
  // The same in a blink.
  static constexpr const char* kTiny =
      "train_llama --layers 2 --hidden 32 --heads 4 --kv-heads 2 --ffn 64 --seq 32 --global-batch 4 --micro-batch "
      "1 "
      "--threads 1 --data text-train --out out --save-interval 4 ";

  // What a step computed, not how long it took.
  std::vector<Line> metrics(const std::string& out) const {
    std::vector<Line> lines;
    for (const auto& object : json_lines(folder_ / out / "metrics.jsonl")) {
      if (!object.contains("step")) continue;
      Line& line = lines.emplace_back(Line{object["step"], {}});
      for (const char* key : {"loss", "grad_norm", "lr", "tokens", "loss_scale", "skipped", "valid_loss"})
        if (object.contains(key)) line.values[key] = object[key];
    }
    return lines;
  }
  fs::path checkpoint(int64_t step, const std::string& out = "out") const {
    return folder_ / out / "checkpoints" / fmt::format("step-{:06}", step);
  }
  Ran expect(const std::string& command, int code, std::initializer_list<const char*> words = {}) const {
    const Ran ran = in_folder("timeout 100 " + command);
    EXPECT_EQ(ran.code, code) << command << "\n" << ran.text;
    for (const char* word : words) EXPECT_THAT(ran.text, HasSubstr(word)) << command;
    return ran;
  }
  static void damage(const fs::path& file) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    ASSERT_TRUE(stream) << file;
    stream.seekg(static_cast<std::streamoff>(fs::file_size(file) / 2));
    const char byte = static_cast<char>(stream.get() ^ 0x10);
    stream.seekp(-1, std::ios::cur).put(byte);
  }
  // Killed when step 10 is saved; false if step 20 came before that.
  bool killed_after_step_10(const std::string& command) const {
    fs::remove_all(folder_ / "killed");
    Job job(folder_, command + " --out " + (folder_ / "killed").string());
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!fs::exists(checkpoint(10, "killed")) && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const std::string pid = std::to_string(job.pid());  // a launcher's ranks, or none
    std::ifstream children("/proc/" + pid + "/task/" + pid + "/children");
    for (pid_t rank = 0; children >> rank;) ::kill(rank, SIGKILL);
    ::kill(job.pid(), SIGKILL);
    job.wait();
    EXPECT_EQ(num_processes_left("train_llama", folder_), 0u);
    return !fs::exists(checkpoint(20, "killed"));
  }
  // 20 steps as threads of one process, and 10 + kill + 10 as `launcher` starts them.
  void expect_the_same_run(const std::string& flags, const std::string& local_ranks,
                           const std::string& launcher) const {
    prepare();
    const std::string train = kModel + flags + " --steps 20 --save-interval 10 ";
    expect(train + local_ranks + " --out whole", 0);
    for (int attempt = 0; !killed_after_step_10(launcher + train); ++attempt)
      ASSERT_LT(attempt, 5) << "it is too fast";
    EXPECT_GE(metrics("killed").size(), 10u);
    const Ran resumed = in_folder(launcher + "train_llama --resume --out killed");
    ASSERT_EQ(resumed.code, 0) << resumed.text;
    EXPECT_THAT(resumed.text, HasSubstr("resume killed/checkpoints/step-000010 after step 10"));
    const auto whole = metrics("whole");
    EXPECT_EQ(whole.size(), 20u + 4);  // steps and validations
    EXPECT_EQ(metrics("killed"), whole);
    expect("checkpoint_tool diff whole killed", 0, {"equal: all tensors and the training state"});
    expect("checkpoint_tool diff whole/checkpoints/step-000010 killed/checkpoints/step-000020", 1,
           {"variance model.norm.weight: hash", "state step: 10 and 20"});
  }
};

struct Setting {
  std::string name, flags;
  int ranks = 1;
};
class KilledRun : public ResumeTest, public testing::WithParamInterface<Setting> {};

TEST_P(KilledRun, GoesOnBitForBit) {
  const std::string local_ranks = "--local-ranks " + std::to_string(GetParam().ranks);
  expect_the_same_run(GetParam().flags + " " + local_ranks, "", "exec ");
}

INSTANTIATE_TEST_SUITE_P(Of, KilledRun,
                         testing::Values(Setting{"OneRankF32", "--dtype f32"},
                                         Setting{"OneRankBf16", "--dtype bf16"},
                                         Setting{"OneRankFp16", "--dtype fp16"},
                                         Setting{"Tp2Pp2", "--tp 2 --pp 2", 4},
                                         Setting{"Dp2Zero", "--zero 1 --dtype f32", 2},
                                         Setting{"Interleaved", "--pp 2 --vpp 2 --schedule interleaved", 2}),
                         [](const auto& setting) { return setting.param.name; });

TEST_F(ResumeTest, KilledUnderMpirunGoesOnBitForBit) {
  expect_the_same_run("--tp 2 --pp 2", "--local-ranks 4", mpirun(4));
}

// Another layout: the numbers of another order of sums, from the same state.
TEST_F(ResumeTest, AnotherLayoutTakesItUp) {
  prepare();
  const std::string train = std::string(kModel) + "--dtype f32 --steps 12 ";
  expect(train + "--save-interval 6 --tp 2 --pp 2 --local-ranks 4 --out whole", 0);
  fs::copy(folder_ / "whole", folder_ / "moved", fs::copy_options::recursive);
  fs::remove_all(checkpoint(12, "moved"));
  expect("train_llama --resume --out moved --tp 1 --pp 1 --local-ranks 2", 0,
         {"after step 6", "resharding tp2 pp2 dp1 -> tp1 pp1 dp2"});
  const auto whole = metrics("whole"), moved = metrics("moved");
  ASSERT_EQ(moved.size(), whole.size());
  for (size_t i = 0; i < whole.size(); ++i) {
    const char* key = whole[i].values.contains("loss") ? "loss" : "valid_loss";
    EXPECT_NEAR(double(moved[i].values.at(key)) / double(whole[i].values.at(key)), 1, 1e-4)
        << "step " << whole[i].step;
  }
}

TEST_F(ResumeTest, WhatMayNotChangeIsNamed) {
  prepare();
  ASSERT_EQ(in_folder("rm text.json").code, 0);  // which would refuse another tokenizer before
  expect(std::string(kTiny) + "--steps 4 --vocab 800", 0);
  const std::string resume = "train_llama --resume --out out --steps 8 ";
  const std::string unigram = std::string(TRINE_TEST_DATA) + "/tokenizers/unigram.model";
  ASSERT_EQ(in_folder("cp text-train.bin other.bin; cp text-train.idx other.idx").code, 0);
  expect(resume + "--layers 3", 2, {"--layers was 2", "is 3 now"});
  expect(resume + "--ffn 65 --kv-heads 4", 2, {"--ffn was 64", "--kv-heads was 2"});
  expect(resume + "--seq 16", 2, {"--seq was 32"});
  expect(resume + "--data other", 2, {"--data was", "other"});
  expect(resume + "--tokenizer " + unigram, 2, {"the tokenizer", "is not the one that was saved"});
  EXPECT_EQ(metrics("out").size(), 4u) << "a refused resume changes nothing";
  expect(resume + "--lr 1e-4 --save-interval 2", 0, {"after step 4"});
  EXPECT_EQ(metrics("out").size(), 8u);
}

TEST_F(ResumeTest, FallsBackToTheNewestGoodCheckpoint) {
  prepare();
  expect(std::string(kTiny) + "--steps 12", 0);
  damage(checkpoint(12) / "rank-0000.h5");
  fs::resize_file(checkpoint(8) / "manifest.json", 100);
  expect("checkpoint_tool verify out", 3, {"step-000012", "XXH3", "step-000008", "step-000004: good"});
  expect("checkpoint_tool ls out", 0, {"step-000008  DAMAGED", "step-000004 "});
  expect("train_llama --resume --out out --steps 6", 0,
         {"passed over checkpoint step-000012", "XXH3", "passed over checkpoint step-000008", "after step 4"});
  EXPECT_EQ(metrics("out").size(), 6u);
  for (const int64_t step : {4, 6}) damage(checkpoint(step) / "rank-0000.h5");
  for (const char* resume : {"--resume", "--resume auto", "--resume out/checkpoints/step-000012"})
    expect(std::string("train_llama --out out --steps 20 ") + resume, 7, {"step-000012", "XXH3"});
  expect("checkpoint_tool verify out", 7);
  expect("checkpoint_tool export-hf out exported", 7, {"none of 4 checkpoints is good"});
  EXPECT_EQ(metrics("out").size(), 6u);
}

TEST_F(ResumeTest, AutoBeginsWhereNothingWasBegun) {
  prepare();
  const std::string train = std::string(kTiny) + "--resume auto --steps ";
  EXPECT_THAT(expect(train + "4", 0).text, Not(HasSubstr("after step")));
  expect(train + "8", 0, {"after step 4"});
  EXPECT_EQ(metrics("out").size(), 8u);
  expect("train_llama --resume --out nowhere", 7, {"nowhere"});
}

TEST_F(ResumeTest, StoppedRunsAreSavedAndGoOn) {
  prepare();
  int64_t last = 0;
  for (const std::string how : {"stop file", "SIGUSR1", "time limit"}) {
    const std::string begin = last == 0 ? std::string(kTiny) : "train_llama --resume --out out ";
    Job job(folder_, "exec " + begin + "--save-interval 1000000 --steps 10000000 --warmup 1" +
                         (how == "time limit" ? " --time-limit 0.3" : " --time-limit 1000"));
    if (how != "time limit") job.wait_for_step(static_cast<int>(last) + 3);
    if (how == "stop file") std::ofstream(folder_ / "out/stop");
    if (how == "SIGUSR1") ::kill(job.pid(), SIGUSR1);
    EXPECT_EQ(job.wait(), 8) << job.printed();
    EXPECT_THAT(job.printed(), HasSubstr("stopped after the step: " + how + ". It is saved"));
    const auto lines = metrics("out");
    ASSERT_FALSE(lines.empty());
    EXPECT_GT(lines.back().step, last);
    last = lines.back().step;
    EXPECT_EQ(lines.size(), static_cast<size_t>(last)) << "a line for each step, once";
    EXPECT_TRUE(fs::exists(checkpoint(last) / "manifest.json")) << last;
  }
}

// The limit on a file's size stands for a full disk: metrics fit, rank files do not.
TEST_F(ResumeTest, FullDiskLosesNoTrainingAndNoOlderCheckpoint) {
  prepare();
  expect(std::string(kModel) + "--out out --save-interval 2 --steps 4 ", 0);
  const Ran full =
      expect("bash -c \"ulimit -f 1000; exec train_llama --resume --out out --steps 8\"", 3,
             {"a checkpoint could not be saved", "Training goes on", "Make room", "the last save failed"});
  EXPECT_EQ(metrics("out").back().step, 8) << full.text;
  EXPECT_FALSE(fs::exists(checkpoint(6)));
  expect("checkpoint_tool verify out", 0, {"step-000002: good", "step-000004: good"});
  for (const auto& entry : fs::directory_iterator(folder_ / "out/checkpoints"))
    EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr(".tmp-")));
  expect("train_llama --resume --out out --steps 8", 0, {"after step 4"});
  expect("checkpoint_tool verify out", 0, {"step-000008: good"});
}

}  // namespace
}  // namespace trine
