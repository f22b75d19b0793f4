// Runs that end before their time and go on: the same numbers as if nothing had happened, and what is said where it
// can not go on.
#include "tests/programs/resume.h"

#include "checkpoint/hash.h"
#include "tests/runtime/event_reader.h"
#include "tests/test_data.h"

namespace trine {
namespace {

using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

class KilledRunTest : public ResumeTest {
 protected:
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
    const Ran resumed = in_folder(launcher + "train_llama --resume --threads 1 --out killed");
    ASSERT_EQ(resumed.code, 0) << resumed.text;
    EXPECT_THAT(resumed.text, HasSubstr("resume killed/checkpoints/step-000010 after step 10"));
    const auto whole = metrics("whole");
    EXPECT_EQ(whole.size(), 20u + 4);  // steps and validations
    EXPECT_EQ(metrics("killed"), whole);
    std::vector<int64_t> steps, steps_of_events;
    for (const Line& line : whole) steps.push_back(line.step);
    const fs::path events = fs::directory_iterator(folder_ / "killed/tb")->path();
    for (const Event& event : read_events(events))
      if (event.file_version.empty()) steps_of_events.push_back(event.step);
    EXPECT_EQ(steps_of_events, steps) << "TensorBoard's events go on without a step twice";
    expect("checkpoint_tool diff whole killed", 0, {"equal: all tensors and the training state"});
    expect("checkpoint_tool diff whole/checkpoints/step-000010 killed/checkpoints/step-000020", 1,
           {"variance model.norm.weight: hash", "state step: 10 and 20"});
  }
};

struct Setting {
  std::string name, flags;
  int ranks = 1;
};
class KilledRun : public KilledRunTest, public testing::WithParamInterface<Setting> {};

TEST_P(KilledRun, GoesOnBitForBit) {
  const std::string local_ranks = "--local-ranks " + std::to_string(GetParam().ranks);
  expect_the_same_run(GetParam().flags + " " + local_ranks, "", "exec ");
}

INSTANTIATE_TEST_SUITE_P(Of, KilledRun,
                         testing::Values(Setting{"OneRankF32", "--dtype f32"},
                                         Setting{"OneRankBf16", "--dtype bf16"},
                                         // the first step overflows: it is skipped and the scale is halved
                                         Setting{"OneRankFp16", "--dtype fp16 --init-std 1"},
                                         Setting{"Tp2Pp2", "--tp 2 --pp 2", 4},
                                         Setting{"Dp2Zero", "--zero 1 --dtype f32", 2},
                                         Setting{"Interleaved", "--pp 2 --vpp 2 --schedule interleaved", 2}),
                         [](const auto& setting) { return setting.param.name; });

TEST_F(KilledRunTest, UnderMpirunGoesOnBitForBit) {
  expect_the_same_run("--tp 2 --pp 2", "--local-ranks 4", mpirun(4));
}

// Another layout: the numbers of another order of sums, from the same state.
TEST_F(ResumeTest, AnotherLayoutTakesItUp) {
  prepare();
  const std::string train = std::string(kModel) + "--dtype f32 --steps 12 ";
  expect(train + "--save-interval 6 --tp 2 --pp 2 --local-ranks 4 --out whole", 0);
  fs::copy(folder_ / "whole", folder_ / "moved", fs::copy_options::recursive);
  fs::remove_all(checkpoint(12, "moved"));
  expect("train_llama --resume --threads 1 --out moved --tp 1 --pp 1 --local-ranks 2", 0,
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
  const std::string resume = "train_llama --resume --threads 1 --out out --steps 8 ";
  const std::string unigram = test_data() + "/tokenizers/unigram.model";
  expect(resume + "--layers 3", 2, {"--layers was 2", "is 3 now"});
  expect(resume + "--ffn 65 --kv-heads 4", 2, {"--ffn was 64", "--kv-heads was 2"});
  expect(resume + "--seq 16", 2, {"--seq was 32"});
  expect(resume + "--seed 5", 2, {"--seed was 1234", "is 5 now"});
  expect(resume + "--shuffle off", 2, {"--shuffle was true", "is false now"});
  expect(resume + "--rope-theta 5e5", 2, {"--rope-theta was 10000"});
  expect(resume + "--tie-embeddings on", 2, {"--tie-embeddings was false"});
  expect(resume + "--tokenizer " + unigram, 2, {"the tokenizer", "is not the one that was saved"});
  EXPECT_EQ(metrics("out").size(), 4u) << "a refused resume changes nothing";
  expect(resume + "--load-weights out", 2, {"--resume brings its own weights"});
  expect(resume + "--lr 1e-4 --save-interval 2", 0,
         {"after step 4", "changed since it was saved: steps 4 -> 8, lr 0.002 -> 0.0001, min-lr 0.0002 -> 1e-05"});
  EXPECT_EQ(metrics("out").size(), 8u);
}

// What counts is which tokens follow one another, not where they lie or what holds them.
TEST_F(ResumeTest, DataIsKnownByItsTokens) {
  prepare();
  expect(std::string(kTiny) + "--steps 4", 0);
  const auto resume = [&](const std::string& flags, int code, std::initializer_list<const char*> words) {
    expect("rm -rf copy; cp -r out copy; train_llama --resume --threads 1 --out copy --steps 5 " + flags, code,
           words);
  };
  ASSERT_EQ(in_folder("mkdir elsewhere; mv text* elsewhere; cp elsewhere/text-valid.idx short.idx; "
                      "cp elsewhere/text-valid.bin short.bin")
                .code,
            0);
  resume("", 3, {"text-train", "no such file"});
  const std::string moved = (folder_ / "elsewhere/text-train").string();
  resume("--data elsewhere/text-train.bin", 0, {"after step 4"});
  resume("--data " + moved, 0, {"after step 4"});
  resume("--data short", 2, {"the training data was", "tokens, xxh3", "--valid-fraction"});
  resume("--data " + moved + " --valid-fraction 0.2", 2, {"the training data was"});
  resume("--data " + moved + " short", 2, {"the training data was"});
  std::string bin = read_file(folder_ / "elsewhere/text-train.bin");
  std::swap(bin[1000], bin[1002]);
  ASSERT_NE(bin[1000], bin[1002]);
  std::ofstream(folder_ / "elsewhere/text-train.bin", std::ios::binary) << bin;
  resume("--data " + moved, 2, {"the training data was"});
}

// One that an older version saved does not say which tokens it was trained on.
TEST_F(ResumeTest, ACheckpointWithoutTheDataIsTakenWithAWarning) {
  prepare();
  expect(std::string(kTiny) + "--steps 4", 0);
  const auto path = checkpoint(4) / "manifest.json";
  std::string manifest = read_file(path);
  const size_t begin = manifest.find(R"(,"data":")"), end = manifest.find('}', begin);
  ASSERT_TRUE(begin != std::string::npos && manifest.find("xxh3", begin) < end) << manifest.substr(0, 600);
  manifest.erase(begin, end - begin);
  manifest.resize(manifest.rfind("\"hash\""));
  manifest += "\"hash\": \"" + hex(xxh3(manifest)) + "\"}\n";
  std::ofstream(path, std::ios::binary) << manifest;
  ASSERT_EQ(in_folder("mkdir moved; mv text-* moved").code, 0);
  const std::string resume = "train_llama --resume --threads 1 --out out --steps 5 --data moved/text-train ";
  expect(resume + "--valid-fraction 0.2", 2, {"--valid-fraction was"});
  expect(resume, 0, {"warning", "does not say which tokens", "after step 4"});
}

// The best is of all parts of a run, not of the last one.
TEST_F(ResumeTest, TheBestValidationLossIsKept) {
  prepare();
  const auto best = [&] {
    const Ran list = in_folder("checkpoint_tool ls out --json");
    return nlohmann::json::parse(list.text).back()["state"]["best_valid_loss"].get<double>();
  };
  expect(std::string(kTiny) + "--steps 4 --valid-data text-valid --valid-interval 4 --valid-batches 1", 0);
  const double before = best();
  EXPECT_GT(before, 1);
  expect("train_llama --resume --threads 1 --out out --steps 8 --lr 5", 0, {"after step 4"});
  EXPECT_GT(metrics("out").back().values.at("valid_loss"), before) << "that learning rate spoils it";
  EXPECT_EQ(best(), before);
}

TEST_F(ResumeTest, FallsBackToTheNewestGoodCheckpoint) {
  prepare();
  expect(std::string(kTiny) + "--steps 12", 0);
  damage(checkpoint(12) / "rank-0000.h5");
  fs::resize_file(checkpoint(8) / "manifest.json", 100);
  expect("checkpoint_tool verify out", 3, {"step-000012", "XXH3", "step-000008", "step-000004  good"});
  expect("checkpoint_tool ls out", 0, {"step-000008  DAMAGED", "step-000004 "});
  expect("train_llama --resume --threads 1 --out out --steps 6", 0,
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
  const std::string train = std::string(kTiny) + "--resume auto --save elsewhere --steps ";
  ASSERT_EQ(in_folder("mkdir out; echo {} > out/config.json").code, 0);  // ended before its first save
  EXPECT_THAT(expect(train + "4", 0).text, Not(HasSubstr("after step")));
  expect(train + "8", 0, {"after step 4"});
  EXPECT_EQ(metrics("out").size(), 8u);
  EXPECT_TRUE(fs::exists(folder_ / "elsewhere/step-000008/manifest.json"));
  EXPECT_FALSE(fs::exists(folder_ / "out-2"));
  expect("train_llama --resume --threads 1 --out nowhere", 7, {"nowhere"});
}

// Two runs with the same --save would rotate each other's checkpoints away. The one they belong to goes on, though
// its run folder is gone or its config.json damaged.
TEST_F(ResumeTest, AFolderOfCheckpointsBelongsToOneRun) {
  prepare();
  const std::string train = std::string(kTiny) + "--save saves --keep 1 --steps ";
  expect(train + "8", 0);
  for (const char* other : {"", "--resume auto ", "--resume "}) {
    expect(train + "12 " + other + "--out other", 2, {"[--save] saves"});
    EXPECT_FALSE(fs::exists(folder_ / "other"));
  }
  expect(train + "12", 2, {"holds checkpoints already", "--resume"});  // it would be out-2
  expect("checkpoint_tool verify saves", 0, {"step-000008  good"});
  std::ofstream(folder_ / "out/config.json") << "{";
  expect("train_llama --resume auto --threads 1 --out out --save saves --steps 12", 0,
         {"out/config.json is damaged: the flags are those of saves/step-000008/manifest.json", "after step 8"});
  EXPECT_EQ(metrics("out").size(), 12u);
  fs::remove_all(folder_ / "out");
  expect("train_llama --resume auto --threads 1 --out out --save saves --steps 16", 0, {"after step 12"});
  EXPECT_EQ(metrics("out").size(), 4u) << "the others were in the folder that is gone";
  // A branch, from outside of any run folder, saves into its own.
  fs::create_directory(folder_ / "moved");
  fs::copy(folder_ / "saves/step-000016", folder_ / "moved/step-000016", fs::copy_options::recursive);
  expect("train_llama --resume moved/step-000016 --threads 1 --out branch --steps 20", 0, {"after step 16"});
  EXPECT_TRUE(fs::exists(checkpoint(20, "branch")));
  expect("checkpoint_tool verify saves", 0, {"step-000016  good"});
}

TEST_F(ResumeTest, StoppedRunsAreSavedAndGoOn) {
  prepare();
  int64_t last = 0;
  for (const std::string how : {"stop file", "SIGUSR1", "time limit"}) {
    const std::string begin = last == 0 ? std::string(kTiny) : "train_llama --resume --threads 1 --out out ";
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

// Whatever signal comes before the first step; it is sent where the program opens its data.
TEST_F(ResumeTest, ASignalDuringStartUpEndsTheRunThere) {
  prepare();
  const std::string signal =
      "env LD_PRELOAD=" TRINE_FAULTS " TRINE_FAULT_IN=text-train.idx TRINE_FAULT=open:1:SIGUSR1 ";
  const char* const words = "stopped before the first step: SIGUSR1";
  expect(signal + kTiny + "--steps 8", 8, {words});
  EXPECT_FALSE(fs::exists(folder_ / "out")) << "nothing began";
  expect(signal + kSmall + "--steps 8", 0, {words});  // does not save
  expect(signal + kTiny + "--steps 8 --local-ranks 2", 8, {words});
  expect(std::string(kTiny) + "--steps 4", 0);
  expect(signal + "train_llama --resume --threads 1 --out out --steps 8", 8, {words});
  EXPECT_EQ(metrics("out").size(), 4u);
  expect(signal + kSmall + "--dry-run --print-plan --steps 8", 0);
  expect(signal + kSmall + "--eval-only --valid-data text-valid", 128 + SIGUSR1);  // has no step to stop after
}

TEST_F(ResumeTest, TracesOfAllPartsStay) {
  prepare();
  expect(std::string(kTiny) + "--steps 4 --trace on --trace-format json", 0);
  const std::string first = read_file(folder_ / "out/trace/rank-0000.json");
  expect("train_llama --resume --threads 1 --out out --steps 8 --trace on", 0);
  EXPECT_EQ(read_file(folder_ / "out/trace/rank-0000.json"), first);
  const auto steps = [&](const fs::path& file) {
    std::set<int64_t> found;
    const auto trace = nlohmann::json::parse(read_file(file));
    for (const auto& event : trace["traceEvents"])
      if (event.contains("args") && event["args"].contains("step"))
        found.insert(event["args"]["step"].get<int64_t>());
    return found;
  };
  EXPECT_EQ(steps(folder_ / "out/trace/rank-0000.json"), (std::set<int64_t>{1, 2, 3, 4}));
  EXPECT_EQ(steps(folder_ / "out/trace/from-step-000005/rank-0000.json"), (std::set<int64_t>{5, 6, 7, 8}));
}

// Weights alone bring the model and its tokenizer; moments, steps and data are those of a new run.
TEST_F(ResumeTest, WeightsBringTheirModel) {
  prepare();
  expect(std::string(kTiny) + "--steps 4", 0);
  const std::string train =
      "train_llama --data text-train --seq 16 --global-batch 2 --steps 1 --lr 1e-30 --dtype f32 ";
  for (const char* from : {"out", "out/checkpoints", "out/checkpoints/step-000004"}) {
    SCOPED_TRACE(from);
    const std::string load = fmt::format("--load-weights {} --save-interval 1 --out new", from);
    expect(train + load, 0, {"layers, hidden 32", "load   weights of out/checkpoints/step-000004"});
    const Ran diff = expect("checkpoint_tool diff new out", 1, {"state"});
    EXPECT_THAT(diff.text, Not(HasSubstr("\nweight "))) << "at that learning rate none moves";
    fs::remove_all(folder_ / "new");
  }
  expect(train + "--load-weights out --layers 3", 3, {"model.layers.2.input_layernorm.weight is missing"});
  expect(train + "--load-weights out --layers 1", 3, {"model.layers.1.", "is no parameter"});
  expect(train + "--load-weights out --model bench-s", 3, {"has shape"});
  expect(train + "--load-weights nowhere", 2, {"nowhere"});
  expect(train + "--load-weights " + test_data() + "/hf_llama/deep --out new", 0,
         {("model  " + test_data()).c_str()});
  damage(checkpoint(4) / "rank-0000.h5");
  expect(train + "--load-weights out", 7, {"step-000004", "XXH3"});
}

// The limit on a file's size stands for a full disk: metrics fit, rank files do not.
TEST_F(ResumeTest, FullDiskLosesNoTrainingAndNoOlderCheckpoint) {
  prepare();
  expect(std::string(kModel) + "--out out --save-interval 2 --steps 4 ", 0);
  const Ran full =
      expect("bash -c \"ulimit -f 1000; exec train_llama --resume --threads 1 --out out --steps 8\"", 3,
             {"a checkpoint could not be saved", "Training goes on", "Make room", "the last save failed"});
  EXPECT_EQ(metrics("out").back().step, 8) << full.text;
  EXPECT_FALSE(fs::exists(checkpoint(6)));
  expect("checkpoint_tool verify out", 0, {"step-000002  good", "step-000004  good"});
  for (const auto& entry : fs::directory_iterator(folder_ / "out/checkpoints"))
    EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr(".tmp-")));
  expect("train_llama --resume --threads 1 --out out --steps 8", 0, {"after step 4"});
  expect("checkpoint_tool verify out", 0, {"step-000008  good"});
}

}  // namespace
}  // namespace trine
