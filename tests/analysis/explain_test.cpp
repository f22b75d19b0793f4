#include "analysis/explain.h"

#include <gmock/gmock.h>
#include <sstream>

#include "analysis/prediction.h"
#include "plan/config/flags.h"

namespace trine {
namespace {

Plan plan_of(const std::string& flags) {
  std::istringstream words("train_llama --dry-run --device cuda " + flags);
  std::vector<std::string> args(std::istream_iterator<std::string>(words), {});
  std::vector<const char*> argv;
  for (const std::string& arg : args) argv.push_back(arg.c_str());
  return build_plan(std::get<Config>(parse_train_flags(static_cast<int>(argv.size()), argv.data(), {}, "")));
}

constexpr const char* kFlags =
    "--model llama2-7b --layers 8 --ranks 16 --tp 4 --pp 2 --global-batch 16 --micro-batch 1 --recompute full "
    "--cluster rtx4090 ";

double step_with(const std::string& flags) { return predict(plan_of(kFlags + flags)).simulation.step_s; }

const WhatIf* find(const std::vector<WhatIf>& list, std::string_view id) {
  const auto at = std::ranges::find(list, id, &WhatIf::id);
  return at == list.end() ? nullptr : &*at;
}

TEST(Explain, PartsSumToTheStep) {
  const Prediction p = predict(plan_of(kFlags));
  double sum = 0;
  for (const ExplainedPart& part : p.explained) {
    sum += part.s;
    EXPECT_NE(part_text(part.part), part.part) << "no words for it";
  }
  EXPECT_NEAR(sum, p.simulation.step_s, 1e-6 * sum);
  EXPECT_EQ(p.explained[0].part, "peak");
  // The model's FLOPs at the peak of an RTX 4090 (bf16, f32 accumulation: 165.2 TFLOP/s), by hand: 6 N + 12 L h d T.
  const Config config = plan_of(kFlags).config;
  const double layer = 4.0 * 4096 * 4096 + 3.0 * 4096 * 11008, head = 4096.0 * 32000;
  const double flops = (6 * (8 * layer + head) + 12.0 * 8 * 4096 * 4096) * 16 * 4096;
  EXPECT_NEAR(p.explained[0].s, flops / (16 * 165.2e12), 0.01 * p.explained[0].s);
  // What is more than the whole of computing is never shown.
  StepBreakdown mean;
  mean.step_s = mean.seconds[static_cast<size_t>(EventKind::kCompute)] = 1;
  EXPECT_EQ(explain(mean, 3).size(), 1u);
}

// --set makes the same change by another way.
TEST(WhatIf, EachIsTheSimulationOfItsChange) {
  const Plan plan = plan_of(kFlags);
  const Prediction p = predict(plan);
  const std::vector<WhatIf> list = what_if(plan, p.profile, p.simulation.step_s);
  for (const auto& [id, set] : {std::pair{"p2p", "--set host.peer_access=1"},
                                {"network_x2", "--set network.nic_gb_per_s=25"},
                                {"memory_x2", "--set device.memory_gb_per_s=2016"}}) {
    const double step_s = step_with(set);
    if (const WhatIf* one = find(list, id))
      EXPECT_DOUBLE_EQ(one->step_s, step_s) << id;
    else
      EXPECT_GT(step_s, p.simulation.step_s * 0.995) << id;
  }
  ASSERT_TRUE(find(list, "p2p"));
  for (const WhatIf& one : list) EXPECT_DOUBLE_EQ(one.gain_s, p.simulation.step_s - one.step_s) << one.id;
  EXPECT_TRUE(std::ranges::is_sorted(list, std::greater(), &WhatIf::gain_s));
  // Nothing gains more from links than links without limit.
  const WhatIf* free = find(list, "links_free");
  ASSERT_TRUE(free);
  for (const char* id : {"links_x2", "network_x2", "all_links_x2", "p2p"})
    if (const WhatIf* one = find(list, id)) EXPECT_LE(one->gain_s, free->gain_s) << id;
}

TEST(WhatIf, LessRecomputationWhereItFits) {
  const Plan plan = plan_of(kFlags);
  const Prediction p = predict(plan);
  const std::vector<WhatIf> list = what_if(plan, p.profile, p.simulation.step_s);
  const WhatIf* none = find(list, "recompute_none");
  ASSERT_TRUE(none);
  EXPECT_DOUBLE_EQ(
      none->step_s,
      predict(plan_of("--model llama2-7b --layers 8 --ranks 16 --tp 4 --pp 2 --global-batch 16 --micro-batch "
                      "1 --recompute none --cluster rtx4090"))
          .simulation.step_s);
  // A card too small for it: then 80 GiB are what it takes.
  const Prediction small = predict(plan_of(std::string(kFlags) + "--set device.memory_gib=7"));
  const std::vector<WhatIf> on_small = what_if(plan, small.profile, small.simulation.step_s);
  EXPECT_FALSE(find(on_small, "recompute_none"));
  EXPECT_TRUE(find(on_small, "recompute_none_80gib"));
}

TEST(WhatIf, OneDeviceGainsNothingFromLinks) {
  const Plan plan = plan_of("--model llama2-7b --layers 2 --ranks 1 --global-batch 2 --cluster rtx4090");
  const Prediction p = predict(plan);
  for (const WhatIf& one : what_if(plan, p.profile, p.simulation.step_s))
    EXPECT_THAT(one.id, ::testing::AnyOf("peak_x2", "memory_x2", "host_x2", "f16_accumulation"));
}

}  // namespace
}  // namespace trine
