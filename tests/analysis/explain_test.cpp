#include "analysis/explain.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>
#include <sstream>

#include "analysis/numbers.h"
#include "analysis/prediction_report.h"
#include "base/text.h"
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
    EXPECT_FALSE(part_text(part.part).empty());
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
  for (const auto& [id, set] : {std::pair{"p2p", "--cluster rtx4090-p2p"},
                                {"microbatches_x2", nullptr},
                                {"recompute_none", "--recompute none"},
                                {"grad_reduce_bf16", "--grad-reduce bf16"},
                                {"network_x2", "--set network.nic_gb_per_s=25"},
                                {"memory_x2", "--set device.memory_gb_per_s=2016"}}) {
    const double step_s = set ? step_with(set) : step_with("--global-batch 32") / 2;  // of as many tokens
    if (const WhatIf* one = find(list, id)) {
      EXPECT_NEAR(one->step_s, step_s, 1e-9 * step_s) << id;
    } else {
      EXPECT_GT(step_s, p.simulation.step_s * 0.995) << id;
    }
  }
  ASSERT_TRUE(find(list, "p2p"));
  for (const WhatIf& one : list) EXPECT_DOUBLE_EQ(one.gain_s, p.simulation.step_s - one.step_s) << one.id;
  EXPECT_TRUE(std::ranges::is_sorted(list, std::greater(), &WhatIf::gain_s));
  // Nothing gains more from links than links without limit.
  const WhatIf* free = find(list, "links_free");
  ASSERT_TRUE(free);
  for (const char* id : {"links_x2", "network_x2", "all_links_x2", "p2p"}) {
    if (const WhatIf* one = find(list, id)) {
      EXPECT_LE(one->gain_s, free->gain_s) << id;
    }
  }
}

// Where replicas wait for gradients, half their bytes is worth a line; where they are rounded already there is none.
TEST(WhatIf, GradientsInBf16) {
  const std::string flags = "--model bench-s --ranks 16 --global-batch 16 --micro-batch 1 --cluster rtx4090 ";
  const auto listed = [](const std::string& with) {
    const Plan plan = plan_of(with);
    const Prediction p = predict(plan);
    const std::vector<WhatIf> list = what_if(plan, p.profile, p.simulation.step_s);
    const WhatIf* one = find(list, "grad_reduce_bf16");
    return one ? std::optional(*one) : std::nullopt;
  };
  const auto one = listed(flags);
  ASSERT_TRUE(one);
  EXPECT_EQ(one->kind, ChangeKind::kSetting);
  EXPECT_DOUBLE_EQ(one->step_s, predict(plan_of(flags + "--grad-reduce bf16")).simulation.step_s);
  EXPECT_FALSE(listed(flags + "--grad-reduce bf16"));
}

// Where stages have as many layers each, the head makes the last one late: giving it fewer is offered, and only that.
TEST(WhatIf, StagesSplitOtherwise) {
  const std::string flags =
      "--model llama3-8b --ranks 8 --pp 8 --global-batch 32 --micro-batch 1 --recompute full --cluster rtx4090 ";
  const auto listed = [](const std::string& with) {
    const Plan plan = plan_of(with);
    const Prediction p = predict(plan);
    return what_if(plan, p.profile, p.simulation.step_s);
  };
  const std::vector<WhatIf> by_layers = listed(flags + "--stage-split layers");
  const WhatIf* cost = find(by_layers, "stage_split_cost");
  ASSERT_TRUE(cost);
  EXPECT_EQ(cost->change, "--stage-split cost");
  EXPECT_EQ(cost->kind, ChangeKind::kSetting);
  EXPECT_DOUBLE_EQ(cost->step_s, predict(plan_of(flags)).simulation.step_s);
  EXPECT_FALSE(find(listed(flags), "stage_split_layers"));
}

// The first that a card has the memory for; where it needs a larger card, one of 80 GiB.
TEST(WhatIf, LessRecomputationWhereItFits) {
  const Plan plan = plan_of(kFlags);
  const auto listed = [&](const std::string& memory_gib) {
    const Prediction p = predict(plan_of(kFlags + ("--set device.memory_gib=" + memory_gib)));
    return what_if(plan, p.profile, p.simulation.step_s);
  };
  const auto bytes = [](const char* recompute) {
    return predict(plan_of(kFlags + std::string("--recompute ") + recompute)).memory_bytes;
  };
  ASSERT_LT(bytes("full"), bytes("selective"));
  ASSERT_LT(bytes("selective"), bytes("none"));
  const auto gib_for = [&](const char* recompute) {  // the profile keeps 1 GiB to itself
    return fmt::format("{}", static_cast<double>(bytes(recompute)) / (1 << 30) + 1.01);
  };
  EXPECT_TRUE(find(listed(gib_for("none")), "recompute_none"));
  EXPECT_FALSE(find(listed(gib_for("selective")), "recompute_none"));
  EXPECT_TRUE(find(listed(gib_for("selective")), "recompute_none_80gib"));
  EXPECT_FALSE(find(listed(gib_for("full")), "recompute_selective"));
}

// Two hosts of eight RTX 4090: (8,000 + 8 x 1,600) USD and 8 x 450 + 800 W each, by hand from the profile.
TEST(WhatIf, EachHasAPriceOrAReasonForNone) {
  const Plan plan = plan_of(kFlags);
  const Prediction p = predict(plan);
  const std::vector<WhatIf> list = what_if(plan, p.profile, p.simulation.step_s);
  for (const WhatIf& one : list) {
    EXPECT_FALSE(one.price.source.empty()) << one.id;
    EXPECT_EQ(one.price.usd.has_value(), one.kind != ChangeKind::kBound) << one.id;
    EXPECT_EQ(one.token_cost_change.has_value(), one.price.usd.has_value()) << one.id;
    if (one.price.usd == 0.0) {
      EXPECT_DOUBLE_EQ(*one.token_cost_change, one.step_s / p.simulation.step_s - 1) << one.id;
    }
  }
  const double hour = 2 * ((8000 + 8 * 1600) / (3 * 365 * 24.0) + (8 * 450 + 800) / 1e3 * 0.1);
  const auto check = [&](const char* id, double usd, double more_an_hour) {
    const WhatIf* one = find(list, id);
    ASSERT_TRUE(one) << id;
    ASSERT_TRUE(one->price.usd) << id;
    EXPECT_DOUBLE_EQ(*one->price.usd, usd) << id;
    EXPECT_NEAR(*one->token_cost_change, (hour + more_an_hour) / hour * one->step_s / p.simulation.step_s - 1,
                1e-12)
        << id;
  };
  // The article: 1,000 USD a NIC of 200 Gb/s, 4,000 a switch of eight ports.
  check("network_x2", 2 * 1500, 2 * 1500 / (3 * 365 * 24.0));
  check("network_8x200g", 2 * 8 * 1500, 2 * 8 * 1500 / (3 * 365 * 24.0));
  const double a100 = 2 * (60000 + 8 * 15000 - 8000 - 8 * 1600), a100_watts = 2 * (8 * (400 - 450) + 1500 - 800);
  check("cluster_a100-80-sxm", a100, a100 / (3 * 365 * 24.0) + a100_watts / 1e3 * 0.1);
  check("p2p", 0, 0);
  // Eight NICs are the cluster that has them, in time and in money.
  const Profile many = load_profile("rtx4090-8x200g");
  EXPECT_NEAR(find(list, "network_8x200g")->step_s, step_with("--cluster rtx4090-8x200g"), 1e-12);
  EXPECT_DOUBLE_EQ(*find(list, "network_8x200g")->price.usd, *price_of_cluster(p.profile, many, 16).usd);
  // The same layout on devices that can be bought.
  EXPECT_NEAR(find(list, "cluster_h100-sxm")->step_s, step_with("--cluster h100-sxm"), 1e-12);
}

// Two of them are points of the curves, and not simulated again.
TEST(WhatIf, AnOutlookSaysTheSame) {
  // The second has one card in each host, so that there is no curve of links inside one.
  for (const char* cluster : {"rtx4090", "desktop-4090-10g"}) {
    const Plan plan = plan_of(kFlags + std::string("--cluster ") + cluster);
    const Prediction p = predict(plan);
    const std::vector<WhatIf> alone = what_if(plan, p.profile, p.simulation.step_s);
    const std::vector<WhatIf> with_curves = outlook(plan, p.profile, p.simulation).what_if;
    ASSERT_TRUE(find(alone, "network_x2")) << cluster;
    ASSERT_EQ(alone.size(), with_curves.size()) << cluster;
    for (size_t i = 0; i < alone.size(); ++i) {
      EXPECT_EQ(alone[i].id, with_curves[i].id) << cluster;
      EXPECT_EQ(alone[i].step_s, with_curves[i].step_s) << cluster << ": " << alone[i].id;
      EXPECT_EQ(alone[i].token_cost_change, with_curves[i].token_cost_change) << cluster << ": " << alone[i].id;
    }
  }
}

TEST(WhatIf, APriceThatIsNotKnownIsNone) {
  Profile unknown = load_profile("rtx4090");
  unknown.device_usd = 0;
  EXPECT_FALSE(price_of_cluster(unknown, load_profile("h100-sxm"), 8).usd);
  EXPECT_FALSE(price_of_nics(unknown, 16, 1, 50).usd);  // 400 Gb/s
  const Price nics = price_of_nics(unknown, 16, 1, 25);
  EXPECT_EQ(nics.usd, 2 * 1500);
  EXPECT_FALSE(token_cost_change(unknown, unknown, 16, nics, 2, 1));
  EXPECT_EQ(token_cost_change(unknown, unknown, 16, free_of_charge("a setting"), 2, 1), -0.5);
  EXPECT_EQ(price_of_nics(unknown, 2, 1, 1.25).usd, 150 + 750 / 8.0);  // 10 Gb/s
}

// 10 Gb/s desktops: NICs of 20 Gb/s have no price, those of 200 have, and are simulated as such.
TEST(WhatIf, WhatIsPaidForIsWhatIsSimulated) {
  const std::string flags =
      "--model llama2-7b --layers 8 --ranks 4 --pp 4 --global-batch 8 --micro-batch 1 --cluster desktop-4090-10g ";
  const Plan plan = plan_of(flags);
  const Prediction p = predict(plan);
  const std::vector<WhatIf> list = what_if(plan, p.profile, p.simulation.step_s);
  const WhatIf *twice = find(list, "network_x2"), *fast = find(list, "network_200g");
  ASSERT_TRUE(twice && fast);
  EXPECT_EQ(twice->kind, ChangeKind::kBound);
  EXPECT_FALSE(twice->price.usd);
  EXPECT_EQ(fast->price.usd, 4 * 1500);
  EXPECT_EQ(fast->step_s, predict(plan_of(flags + "--set network.nic_gb_per_s=25")).simulation.step_s);
  // A card alone in its host has no neighbours.
  const std::vector<LinkCurve> curves = link_curves(plan, p.profile, p.simulation);
  ASSERT_EQ(curves.size(), 1u);
  EXPECT_EQ(curves[0].links, "between hosts");
  EXPECT_TRUE(only_much_faster_nics(2.5));
  EXPECT_FALSE(only_much_faster_nics(1.25) || only_much_faster_nics(25) || only_much_faster_nics(50));
  EXPECT_EQ(nic_usd(10), 150 + 750 / 8.0);
  EXPECT_EQ(nic_usd(1), 0);
  EXPECT_FALSE(nic_usd(25));
}

// Bridges are offered for cards that have a place for them and none yet.
TEST(WhatIf, BridgesOnlyWhereTheCardTakesThem) {
  const std::string flags =
      "--model llama2-7b --layers 4 --ranks 4 --tp 2 --pp 2 --global-batch 8 --micro-batch 1 --cluster ";
  const auto bridges = [&](const std::string& cluster) -> std::optional<WhatIf> {
    const Plan plan = plan_of(flags + cluster);
    const Prediction p = predict(plan);
    const std::vector<WhatIf> list = what_if(plan, p.profile, p.simulation.step_s);
    const WhatIf* one = find(list, "nvlink_bridges");
    return one ? std::optional(*one) : std::nullopt;
  };
  const auto bare = bridges("rtx3090-nvlink --set host.nvlink_devices=1 --set host.nvlink_gb_per_s=0");
  ASSERT_TRUE(bare);
  EXPECT_EQ(bare->step_s, predict(plan_of(flags + "rtx3090-nvlink")).simulation.step_s);
  EXPECT_FALSE(bare->price.usd || bare->token_cost_change);
  EXPECT_TRUE(bridges("a100-80-pcie"));
  for (const char* cluster : {"rtx3090-nvlink", "rtx4090", "rtx5090", "a100-80-sxm"})
    EXPECT_FALSE(bridges(cluster)) << cluster;
}

TEST(WhatIf, OneDeviceGainsNothingFromLinks) {
  const Plan plan = plan_of("--model llama2-7b --layers 2 --ranks 1 --global-batch 2 --cluster rtx4090");
  const Prediction p = predict(plan);
  for (const WhatIf& one : what_if(plan, p.profile, p.simulation.step_s))
    EXPECT_THAT(one.id, ::testing::AnyOf("peak_x2", "memory_x2", "host_x2", "f16_accumulation", "microbatches_x2",
                                         ::testing::StartsWith("cluster_")));
}

// Points are predictions with --set; links are enough where nothing that is left to gain is worth 2 %.
TEST(LinkCurve, PointsAreSimulations) {
  const Plan plan = plan_of(kFlags);
  const Prediction p = predict(plan);
  const std::vector<LinkCurve> curves = link_curves(plan, p.profile, p.simulation);
  ASSERT_EQ(curves.size(), 2u);
  const LinkCurve& network = curves[1];
  EXPECT_EQ(network.now_gb_per_s, 12.5);  // one NIC of 100 Gb/s
  for (const LinkCurve::Point& point : network.points) {
    if (point.gb_per_s > 300) continue;  // --set takes it for Gb/s
    const double step_s = step_with(fmt::format("--set network.nic_gb_per_s={}", point.gb_per_s));
    EXPECT_NEAR(point.step_s, step_s, 1e-9 * step_s) << point.gb_per_s;
  }
  for (const LinkCurve& curve : curves) {
    for (size_t i = 1; i < curve.points.size(); ++i) EXPECT_LE(curve.points[i].step_s, curve.points[i - 1].step_s);
    EXPECT_THAT(curve.points,
                ::testing::Contains(::testing::Field(&LinkCurve::Point::gb_per_s, curve.now_gb_per_s)));
  }
  ASSERT_TRUE(network.enough_gb_per_s);
  ASSERT_GT(std::ranges::count_if(network.points, [](const auto& point) { return point.gb_per_s < 300; }), 4);
  const double limit_s = network.points.back().step_s,
               enough_s = step_with(fmt::format("--set network.nic_gb_per_s={}", *network.enough_gb_per_s));
  EXPECT_GT(enough_s, limit_s * 1.005);
  EXPECT_LT(enough_s, limit_s * 1.04);
  EXPECT_EQ(curves[0].markers[0], (std::pair<std::string, double>("RTX 4090", 15.2)));
}

TEST(LinkCurve, ThresholdsAreWhereAnAxisIsHidden) {
  const Plan plan = plan_of(kFlags);
  const Prediction p = predict(plan);
  const std::vector<LinkThreshold> found = thresholds(link_curves(plan, p.profile, p.simulation));
  const auto pp = std::ranges::find(found, Axis::kPp, &LinkThreshold::axis);
  ASSERT_NE(pp, found.end());
  EXPECT_EQ(pp->links, "between hosts");
  ASSERT_TRUE(pp->gb_per_s);
  const auto exposed = [&](double gb_per_s) {
    const StepBreakdown mean =
        predict(plan_of(kFlags + fmt::format("--set network.nic_gb_per_s={}", gb_per_s))).simulation.mean;
    return mean[EventKind::kCommPp] / mean.step_s;
  };
  EXPECT_GT(exposed(0.7 * *pp->gb_per_s), 0.01);
  EXPECT_LT(exposed(1.4 * *pp->gb_per_s), 0.01);
  // tp of PCIe cards, where nothing computes beside most of it.
  const auto tp = std::ranges::find(found, Axis::kTp, &LinkThreshold::axis);
  ASSERT_NE(tp, found.end());
  EXPECT_FALSE(tp->gb_per_s);
}

TEST(LinkCurve, NoneOfOneDevice) {
  const Plan plan = plan_of("--model llama2-7b --layers 2 --ranks 1 --global-batch 2 --cluster rtx4090");
  EXPECT_TRUE(link_curves(plan, load_profile("rtx4090"), {}).empty());
}

TEST(PredictionReport, SaysWhatTheJsonHolds) {
  const Plan plan = plan_of(kFlags);
  Prediction p = predict(plan);
  p.outlook = outlook(plan, p.profile, p.simulation);
  const auto json = prediction_json(p);
  const std::string text = prediction_text(p);
  for (const auto& line : json["answer"]) EXPECT_THAT(text, ::testing::HasSubstr(line.get<std::string>()));
  for (const auto& line : json["link_sentences"]) EXPECT_THAT(text, ::testing::HasSubstr(line.get<std::string>()));
  for (const auto& one : json["what_if"]) {
    const auto& usd = one["usd"];
    const auto& cost = one["token_cost_change"];
    EXPECT_THAT(text, ::testing::HasSubstr(
                          fmt::format("{:.4f} s {:>6.1f} %  {:>12} {:>9}  {}\n", one["gain_s"].get<double>(),
                                      100 * one["gain_s"].get<double>() / json["step_s"].get<double>(),
                                      usd.is_null() ? "not sold" : format_count(std::llround(usd.get<double>())),
                                      cost.is_null() ? "-" : fmt::format("{:+.1f} %", 100 * cost.get<double>()),
                                      one["change"].get<std::string>())));
    EXPECT_FALSE(one["price_source"].get<std::string>().empty());
  }
  EXPECT_THAT(text, ::testing::Not(::testing::HasSubstr("days saved")));  // of what run?
  // The largest loss is named first, and advice is what can be had.
  EXPECT_THAT(text, ::testing::HasSubstr("mostly: tp communication, exposed"));
  EXPECT_THAT(json["answer"][1].get<std::string>(), ::testing::Not(::testing::HasSubstr("without limit")));
}

// What a run saves stands in the list and in the answer.
TEST(PredictionReport, SaysWhatARunSaves) {
  const Plan plan = plan_of(kFlags);
  Prediction p = predict(plan);
  p.outlook = outlook(plan, p.profile, p.simulation);
  for (WhatIf& one : p.outlook.what_if) {
    one.days_saved = 100 * one.gain_s / p.simulation.step_s;
    if (one.token_cost_change) one.usd_saved = -1e6 * *one.token_cost_change;
  }
  const std::string text = prediction_text(p);
  const auto json = prediction_json(p);
  EXPECT_THAT(text, ::testing::HasSubstr("days saved    USD saved     extra USD"));
  const WhatIf* pays = nullptr;
  for (const WhatIf& one : p.outlook.what_if)
    if (one.token_cost_change && one.kind == ChangeKind::kCluster &&
        (!pays || *one.token_cost_change < *pays->token_cost_change))
      pays = &one;
  ASSERT_TRUE(pays);
  ASSERT_LT(*pays->token_cost_change, 0);
  const auto line = json["answer"][2].get<std::string>();
  EXPECT_THAT(line, ::testing::HasSubstr(fmt::format("{} less for the run", days_text(*pays->days_saved))));
  EXPECT_THAT(line, ::testing::HasSubstr(fmt::format("the run {} USD less.", usd_number(*pays->usd_saved))));
  for (size_t i = 0; i < json["what_if"].size(); ++i) {
    EXPECT_EQ(json["what_if"][i]["days_saved"], *p.outlook.what_if[i].days_saved);
    EXPECT_EQ(json["what_if"][i]["usd_saved"].is_null(), !p.outlook.what_if[i].usd_saved);
  }
}

// The same change with the layout as it is and with the best one is one line, with one price.
TEST(PredictionReport, AChangeWithItsBestLayoutIsOneLine) {
  const WhatIf as_now{.id = "cluster_x",
                      .change = "X instead",
                      .gain_s = 1,
                      .kind = ChangeKind::kCluster,
                      .price = {10.0, "X at 10 USD"},
                      .token_cost_change = -0.1};
  WhatIf best = as_now;
  best.id += kBestLayout, best.change = "X instead, and the best layout there: tp 8", best.gain_s = 2;
  const std::string text = what_if_text({best, as_now}, 10);
  EXPECT_THAT(text, ::testing::HasSubstr("tp 8 (10.0 % with the layout as it is)\n"));
  EXPECT_EQ(text.find("  X instead\n"), text.npos);
  EXPECT_THAT(text, ::testing::HasSubstr("cluster_x: X at 10 USD\n"));
  EXPECT_EQ(text.find("X at 10 USD"), text.rfind("X at 10 USD"));
}

TEST(Numbers, OfTimeAndMoneyAreForPeople) {
  EXPECT_EQ(days_text(86.781), "86.78 days");
  EXPECT_EQ(days_text(0.5), "12 hours");
  EXPECT_EQ(days_text(0.04015), "57.82 minutes");
  EXPECT_EQ(rough_number(1163.2), "1,163");
  EXPECT_EQ(rough_number(999.6), "1,000");
  EXPECT_EQ(usd_number(656631.4), "656,631");
  EXPECT_EQ(usd_number(0.4912), "0.49");
  EXPECT_EQ(usd_number(-12345.6), "-12,346");
  EXPECT_EQ(usd_number(0), "0");
}

}  // namespace
}  // namespace trine
