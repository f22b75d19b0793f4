// plan_llama --model: which layout trains fastest.
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/programs/run.h"

namespace trine {
namespace {

using ::testing::HasSubstr;

class PlanLayouts : public ProgramTest {
 protected:
  static constexpr const char* kSmall =
      "plan_llama --model llama2-7b --devices 4 --global-batch 16 --seq 1024 --fix layers=4";

  nlohmann::json json(const std::string& flags) const {
    const Ran ran = in_folder(std::string(kSmall) + " --json " + flags);
    EXPECT_EQ(ran.code, 0) << ran.text;
    return nlohmann::json::parse(ran.text);
  }
};

TEST_F(PlanLayouts, BestFirstWithTheCommandThatRunsIt) {
  const nlohmann::json answer = json("--tokens 1e9 --top 3 --cluster rtx4090 --fix micro-batch=1");
  const auto& plans = answer["plans"];
  ASSERT_EQ(plans.size(), 3u);
  EXPECT_GT(answer["searched"], 10);
  for (const auto& plan : plans) {
    for (const char* key : {"tp", "pp", "vpp", "dp", "micro_batch", "schedule", "recompute", "zero", "step_s",
                            "mfu", "memory_bytes", "tokens_per_s", "days", "usd", "command"})
      EXPECT_TRUE(plan.contains(key)) << key;
    EXPECT_GE(plan["step_s"], plans[0]["step_s"]);
    EXPECT_EQ(plan["tp"].get<int>() * plan["pp"].get<int>() * plan["dp"].get<int>(), 4);
    EXPECT_EQ(plan["micro_batch"], 1);
  }
  // The best is what --dry-run predicts of its flags.
  EXPECT_EQ(answer["best"]["step_s"], plans[0]["step_s"]);
  std::string flags = plans[0]["command"];
  flags = flags.substr(flags.find("train_llama"));
  const Ran dry = in_folder(flags + " --ranks 4 --dry-run --cluster rtx4090 --json");
  ASSERT_EQ(dry.code, 0) << dry.text;
  const nlohmann::json predicted = nlohmann::json::parse(dry.text)["predicted"];
  EXPECT_EQ(predicted["step_s"], plans[0]["step_s"]);
  EXPECT_EQ(predicted["memory_bytes"], plans[0]["memory_bytes"]);
  EXPECT_EQ(predicted["mfu"], plans[0]["mfu"]);
}

TEST_F(PlanLayouts, FixedChoicesAndSeveralClusters) {
  for (const auto& plan : json("--fix tp=2,schedule=1f1b,recompute=full,micro_batch=1")["plans"]) {
    EXPECT_EQ(plan["tp"], 2);
    EXPECT_EQ(plan["schedule"], "1f1b");
    EXPECT_EQ(plan["recompute"], "full");
  }
  const nlohmann::json two = json("--cluster rtx4090,h100-sxm --fix micro-batch=1,tp=2");
  ASSERT_EQ(two["clusters"].size(), 2u);
  EXPECT_GT(two["clusters"][0]["plans"][0]["step_s"], two["clusters"][1]["plans"][0]["step_s"]);
  const Ran text = in_folder(std::string(kSmall) + ",micro-batch=1,tp=2 --cluster rtx4090,h100-sxm");
  EXPECT_THAT(text.text, HasSubstr("h100-sxm "));
}

TEST_F(PlanLayouts, SaysWhatIsNearestWhereNothingFits) {
  const Ran ran = in_folder("plan_llama --model llama2-7b --cluster rtx4090 --devices 2 --global-batch 8");
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.text, HasSubstr("The nearest is tp"));
  EXPECT_THAT(ran.text, HasSubstr("--set device.memory_gib="));
  // What it tells to take does.
  const size_t at = ran.text.find("--devices ");
  ASSERT_NE(at, ran.text.npos) << ran.text;
  const std::string devices = ran.text.substr(at, ran.text.find(' ', at + 10) - at);
  EXPECT_EQ(
      in_folder("plan_llama --model llama2-7b --cluster rtx4090 --global-batch 8 --fix micro-batch=1 " + devices)
          .code,
      0);
  const Ran odd =
      in_folder("plan_llama --model llama2-7b --cluster rtx4090 --devices 7 --global-batch 8 --fix pp=1");
  EXPECT_EQ(odd.code, 2);
  EXPECT_THAT(odd.text, HasSubstr("heads, layers or batch do not divide"));
}

// Of several, the one that does not fit says by how much.
TEST_F(PlanLayouts, AClusterTooSmallStandsBesideOneThatIsNot) {
  const Ran ran = in_folder(
      "plan_llama --model llama2-7b --devices 2 --cluster rtx4090,h100-sxm --global-batch 8 --fix "
      "micro-batch=1,tp=2");
  EXPECT_EQ(ran.code, 0);
  EXPECT_THAT(ran.text, HasSubstr("does not fit: the nearest needs "));
  EXPECT_THAT(ran.text, HasSubstr("h100-sxm           tp 2"));
}

TEST_F(PlanLayouts, RefusesWhatItCannotPlan) {
  for (const auto& [flags, words] :
       {std::pair{"plan_llama --model tiny", "--devices is 0"},
        {"plan_llama --devices 2 --model nothing", "nothing"},
        {"plan_llama --model tiny --devices 2 --cluster nowhere", "nowhere is no built-in profile"},
        {"plan_llama --model tiny --devices 2 --fix tp", "NAME=VALUE"},
        {"plan_llama --model tiny --devices 2 --fix tp=two", "tp is two"},
        {"plan_llama --model tiny --devices 2 --fix colour=red", "colour"},
        {"plan_llama --model tiny --devices 2 --failures article", "Add --tokens"},
        {"plan_llama --model tiny --devices 2 --tokens -1", "--tokens"},
        {"plan_llama --model , --devices 2", "need a name"},
        {"plan_llama --devices 2 --cluster ,", "need a name"},
        {"plan_llama --model tiny,small --devices 2 --html x", "name one --model"},
        {"plan_llama --model tiny --devices 32769", "1 to 32,768"},
        {"plan_llama --model tiny --devices 2 --top 0", "--top"},
        {"plan_llama --model tiny --devices 2 --seq 0", "--seq is 0"},
        {"plan_llama --model tiny --devices 2 --global-batch -4", "--global-batch is -4"},
        {"plan_llama --model tiny --devices 2 --fix tp=0", "tp=0: it needs 1 or more"},
        {"plan_llama --model tiny --devices 2 --fix pp=-2", "pp=-2: it needs 1 or more"},
        {"plan_llama --model tiny --devices 2 --fix micro-batch=0", "micro-batch=0: it needs 1"},
        {"plan_llama --model tiny --devices 2 --fix zero=2", "zero=2: it needs 0 or 1"},
        {"plan_llama --model tiny --devices 2 --fix zero=-1", "zero=-1: it needs 0 or 1"},
        {"plan_llama --model tiny --devices 8 --fix tp=2,tp=4", "tp is given twice, as 2 and 4"},
        {"plan_llama --model tiny --devices 8 --fix tp=4,pp=4", "which does not divide 8 devices"},
        {"plan_llama --model tiny --devices 8 --fix tp=2,pp=2,dp=1", "which is not the 8 devices"},
        {"plan_llama --model tiny --devices 8 --fix tp=8", "does not divide the model"},
        {"plan_llama --model tiny --devices 8 --fix dp=2,micro-batch=5", "does not divide the global batch of 32"},
        {"plan_llama --model tiny --devices 8 --fix vpp=40", "more than the model"},
        {"plan_llama --model tiny --devices 8 --fix schedule=interleaved,vpp=1", "vpp=1 is given"},
        {"plan_llama --model tiny --devices 8 --fix schedule=1f1b,vpp=2", "schedule=1f1b is given"},
        {"plan_llama --model tiny --devices 8 --fix pp=1,schedule=zero-bubble", "pp=1 is given"},
        {"plan_llama --model tiny --devices 8 --fix cluster=h100-sxm", "give --cluster itself"},
        {"plan_llama --model tiny --devices 8 --fix ranks=4", "give --devices"},
        {"plan_llama --model tiny --devices 8 --fix out=here", "no layout depends on it"},
        {"plan_llama --model tiny --devices 8 --cluster RTX4090", "Did you mean rtx4090?"},
        {"plan_llama --model llama2-7b --devices 1 --cluster rtx4090,rtx5090 --global-batch 8",
         "on 1 x RTX 5090"}}) {
    const Ran ran = in_folder(flags);
    EXPECT_EQ(ran.code, 2) << flags << "\n" << ran.text;
    EXPECT_THAT(ran.text, HasSubstr(words)) << flags;
  }
}

// What a dry run names plans the same model and cluster, not the preset.
TEST_F(PlanLayouts, TheCommandOfADryRunPlansWhatItPredicted) {
  const Ran dry = in_folder(
      "train_llama --layers 2 --hidden 512 --heads 8 --dtype fp16 --tp 2 --ranks 2 --global-batch 4 --seq 256 --dry-run "
      "--cluster rtx4090 --set device.memory_gib=80");
  ASSERT_EQ(dry.code, 0) << dry.text;
  const size_t at = dry.text.find("plan_llama --model");
  ASSERT_NE(at, dry.text.npos) << dry.text;
  const std::string command = dry.text.substr(at, dry.text.find('\n', at) - at);
  for (const char* part : {"layers=2", "hidden=512", "heads=8", "dtype=fp16", "--set device.memory_gib=80"})
    EXPECT_NE(command.find(part), command.npos) << command;
  const Ran planned = in_folder(command);
  EXPECT_EQ(planned.code, 0) << command << "\n" << planned.text;
}

}  // namespace
}  // namespace trine
