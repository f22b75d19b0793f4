#include "analysis/inference.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "analysis/inference_report.h"
#include "analysis/money.h"
#include "models/presets.h"

namespace trine {
namespace {

constexpr double kGiB = 1 << 30;

// Eight RTX 4090 by their data sheet, links without latency.
InferenceSetup eight_4090(InferenceSplit split, int64_t context, std::optional<int64_t> batch) {
  return {.model = find_preset("llama2-70b")->model,
          .split = split,
          .context = context,
          .batch = batch,
          .device = {.flops_per_s = 165.2e12, .bytes_per_s = 1.008e12, .memory_bytes = 24 * kGiB},
          .all_reduce_s = [](double bytes) { return 1.75 * bytes / 14.5e9 + 30e-6; },
          .hop_s = [](int, double bytes) { return bytes / 20e9 + 20e-6; }};
}

TEST(Inference, TheCacheOfAModelWithFewKvHeads) {
  const InferenceSize size = size_inference(eight_4090({.tp = 8}, 4096, 1));
  EXPECT_EQ(size.kv_bytes_per_sequence, 1.25 * kGiB);  // 80 layers, 8 heads of 128, keys and values, 16 bits
  EXPECT_NEAR(size.weights_bytes, 137.953e9, 1e6);
  EXPECT_NEAR(size.device_weights_bytes, 137.953e9 / 8, 0.01e9);
  EXPECT_EQ(size.device_kv_bytes, 1.25 * kGiB / 8);
}

TEST(Inference, OneSequenceIsBoundByReadingWeights) {
  const InferenceSize size = size_inference(eight_4090({.tp = 8}, 4096, 1));
  // without the embedding's table, of which a token reads one row
  EXPECT_NEAR(size.weights_s, 2 * (68.977e9 - 32000 * 8192) / 8 / 1.008e12, 1e-5);
  EXPECT_NEAR(size.kv_s, 1.25 * kGiB / 8 / 1.008e12, 1e-9);
  EXPECT_NEAR(size.all_reduce_s, 160 * (1.75 * 16384 / 14.5e9 + 30e-6), 1e-9);
  EXPECT_EQ(size.hop_s, 0);
  EXPECT_NEAR(size.latency_s, size.weights_s + size.kv_s + size.all_reduce_s, 1e-12);
  EXPECT_NEAR(size.tokens_per_s_per_user * size.latency_s, 1, 1e-12);
  EXPECT_EQ(size.bound, InferenceBound::kMemory);
}

TEST(Inference, LinksBoundALargeBatchOnPcie) {
  const InferenceSize size = size_inference(eight_4090({.tp = 8}, 1024, 100));
  EXPECT_EQ(size.bound, InferenceBound::kLink);
  EXPECT_TRUE(size.fits);
  InferenceSetup faster = eight_4090({.tp = 8}, 1024, 100);
  faster.all_reduce_s = [](double bytes) { return 1.75 * bytes / 450e9; };
  EXPECT_EQ(size_inference(faster).bound, InferenceBound::kMemory);
  faster.batch = 250;
  faster.context = 128;
  EXPECT_EQ(size_inference(faster).bound, InferenceBound::kCompute);
}

TEST(Inference, APipelineServesABatchInEachStage) {
  const InferenceSize tp = size_inference(eight_4090({.tp = 8}, 2048, 4));
  const InferenceSize pp = size_inference(eight_4090({.pp = 8}, 2048, 4));
  EXPECT_EQ(pp.sequences, 32);
  // stages one after another read all weights in turn: eight times as long for one token
  EXPECT_NEAR(pp.weights_s / tp.weights_s, 8, 1e-9);
  EXPECT_NEAR(pp.hop_s, 7 * (4 * 16384 / 20e9 + 20e-6) + 16 / 20e9 + 20e-6, 1e-12);
  EXPECT_EQ(pp.all_reduce_s, 0);
  EXPECT_GT(pp.latency_s, tp.latency_s);
  EXPECT_NEAR(pp.tokens_per_s, 32 / pp.latency_s, 1e-9);
  // caches of all sequences under way: a stage keeps 10 layers of 32, a tp rank all layers of 4 and one kv head
  EXPECT_GE(pp.device_kv_bytes, 32 * 2048 * 2.0 * 10 * 1024 * 2);
  EXPECT_EQ(tp.device_kv_bytes, 4 * 2048 * 2.0 * 80 * 128 * 2);
}

TEST(Inference, AutoTakesTheBalanceOrWhatMemoryHolds) {
  InferenceSetup setup = eight_4090({.tp = 8}, 4096, {});
  const InferenceSize tight = size_inference(setup);
  EXPECT_NEAR(tight.balance_batch, 163.889, 1e-3);
  EXPECT_EQ(tight.batch, tight.max_batch);
  EXPECT_LT(tight.batch, 60);
  EXPECT_LE(tight.memory_bytes(), setup.device.memory_bytes);
  setup.batch = tight.batch + 1;
  EXPECT_GT(size_inference(setup).memory_bytes(), setup.device.memory_bytes);
  EXPECT_FALSE(size_inference(setup).fits);
  setup.batch.reset();
  setup.device.memory_bytes = 80 * kGiB;
  EXPECT_EQ(size_inference(setup).batch, 164);
  // at the balance, arithmetic takes as long as reading weights
  const InferenceSize balanced = size_inference(setup);
  EXPECT_NEAR(balanced.compute_s / balanced.weights_s, 1, 0.002);
}

TEST(Inference, MoreCardsThanKvHeadsShareThem) {
  InferenceSetup setup = eight_4090({.tp = 16}, 4096, 1);
  EXPECT_EQ(size_inference(setup).device_kv_bytes, 1.25 * kGiB / 8);  // one kv head each, twice over
}

TEST(Inference, ReplicasMultiplyUsersAndNotSpeed) {
  InferenceSetup one = eight_4090({.tp = 8}, 2048, 4);
  one.usd_per_hour = 2;
  InferenceSetup four = one;
  four.split.replicas = 4, four.usd_per_hour = 8;
  EXPECT_DOUBLE_EQ(size_inference(four).tokens_per_s, 4 * size_inference(one).tokens_per_s);
  EXPECT_DOUBLE_EQ(size_inference(four).latency_s, size_inference(one).latency_s);
  EXPECT_DOUBLE_EQ(size_inference(four).tokens_per_usd, size_inference(one).tokens_per_usd);
  EXPECT_DOUBLE_EQ(size_inference(one).tokens_per_usd, size_inference(one).tokens_per_s * 1800);
}

TEST(Inference, WhatIsNearestWhereNothingFits) {
  const InferenceSetup two = eight_4090({.tp = 2}, 4096, {});
  EXPECT_FALSE(size_inference(two).fits);
  const NearestFit nearest = nearest_fit(two);
  EXPECT_FALSE(nearest.batch);    // not even one sequence
  EXPECT_FALSE(nearest.context);  // nor a shorter one: the weights alone are too many
  ASSERT_TRUE(nearest.split);
  // brute force: no fewer devices do
  InferenceSetup found = two;
  found.split = *nearest.split;
  EXPECT_TRUE(size_inference(found).fits);
  for (int devices = 3; devices < found.split.devices(); ++devices)
    for (const InferenceSplit& split : possible_splits(two.model, devices)) {
      found.split = split;
      EXPECT_FALSE(size_inference(found).fits) << devices;
    }

  const NearestFit fewer = nearest_fit(eight_4090({.tp = 8}, 4096, 200));
  ASSERT_TRUE(fewer.batch && fewer.context);
  EXPECT_TRUE(size_inference(eight_4090({.tp = 8}, 4096, fewer.batch)).fits);
  EXPECT_FALSE(size_inference(eight_4090({.tp = 8}, 4096, *fewer.batch + 1)).fits);
  EXPECT_TRUE(size_inference(eight_4090({.tp = 8}, *fewer.context, 200)).fits);
  EXPECT_FALSE(size_inference(eight_4090({.tp = 8}, *fewer.context + 1, 200)).fits);
}

TEST(Inference, OverOtherNetworks) {
  const LlamaConfig& model = find_preset("llama2-70b")->model;
  const auto of = [&](const char* cluster, int devices, std::optional<double> price = {}) {
    const Machine machine(load_profile(cluster));
    return inference_json("llama2-70b", machine,
                          inference_on(machine, model, default_split(machine, model, devices), 1024, {}, price));
  };
  EXPECT_TRUE(of("rtx4090", 8)["networks"].empty());  // nothing leaves the host
  const auto desktops = of("desktop-4090-10g", 8);
  const auto& networks = desktops["networks"];
  ASSERT_EQ(networks.size(), 5u);
  EXPECT_EQ(networks[1]["gbit"], 10);
  EXPECT_EQ(networks[1]["latency_s"], desktops["latency_s"]);
  EXPECT_EQ(networks[1]["tokens_per_usd"], desktops["tokens_per_usd"]);
  for (size_t i = 1; i < networks.size(); ++i) EXPECT_LE(networks[i]["latency_s"], networks[i - 1]["latency_s"]);
  // A NIC of 200 Gb/s is 1,000 USD and 500 of a switch, one of 10 Gb/s 150 and 750 / 8; none of 25 Gb/s has a price.
  const double more_an_hour = 8 * (1500 - 150 - 750 / 8.0) / (3 * 365 * 24.0);
  EXPECT_NEAR(
      networks[4]["tokens_per_usd"].get<double>(),
      networks[4]["tokens_per_s"].get<double>() * 3600 / (desktops["usd_per_hour"].get<double>() + more_an_hour),
      1e-3);
  EXPECT_TRUE(networks[2]["tokens_per_usd"].is_null());
  // What a rented host with another NIC would cost is not known.
  EXPECT_TRUE(of("desktop-4090-10g", 8, 0.3)["networks"][4]["tokens_per_usd"].is_null());
}

TEST(Inference, TheArticleStandsBesideWhatHoldsToday) {
  const LlamaConfig& model = find_preset("llama2-70b")->model;
  const Machine machine(load_profile("rtx4090"));
  const auto json = inference_json("llama2-70b", machine, inference_on(machine, model, {.tp = 8}, 4096, {}));
  ASSERT_GE(json["article"].size(), 6u);
  EXPECT_EQ(json["article"][0]["article"], 5);   // GB of a prompt's cache
  EXPECT_EQ(json["article"][0]["today"], 1.25);  // with 8 kv heads for 64
  for (const auto& row : json["article"]) EXPECT_FALSE(row["today"].is_null() || row["why"].empty()) << row;
  EXPECT_EQ(json["all_reduce"]["count"], 160);
  EXPECT_NEAR(json["all_reduce"]["one_sequence_s"].get<double>(), 42e-6, 0.15 * 42e-6);  // measured: 39 to 44 us
  EXPECT_NEAR(160 * json["all_reduce"]["batch_s"].get<double>(), json["latency"]["all_reduce_s"].get<double>(),
              1e-12);
  // A split that writes more is named; of one user none.
  const Machine h100(load_profile("h100-sxm"));
  EXPECT_THAT(inference_text(inference_json("llama2-70b", h100, inference_on(h100, model, {.tp = 8}, 4096, {}))),
              ::testing::HasSubstr("Another split writes more in all: --split 4x2"));
  const std::string alone =
      inference_text(inference_json("llama2-70b", machine, inference_on(machine, model, {.tp = 8}, 4096, 1)));
  EXPECT_THAT(alone, ::testing::HasSubstr("for one user alone"));
  EXPECT_THAT(alone, ::testing::Not(::testing::HasSubstr("Another split")));
}

TEST(Inference, SplitsAreReadAndChecked) {
  EXPECT_EQ(parse_split("tp", 8).tp, 8);
  EXPECT_EQ(parse_split("pp", 8).pp, 8);
  const InferenceSplit split = parse_split("4x2", 16);
  EXPECT_EQ(std::tuple(split.tp, split.pp, split.replicas), std::tuple(4, 2, 2));
  for (const char* wrong : {"", "x", "4x", "x2", "0x8", "-1x8", "3x2", "dp", "4x2x1", "1e9x9"})
    EXPECT_THROW(parse_split(wrong, 8), ConfigError) << wrong;
  const LlamaConfig& model = find_preset("llama2-70b")->model;
  for (const InferenceSplit bad : {InferenceSplit{.tp = 3}, {.pp = 81}, {.tp = 128}}) {
    Problems problems;
    validate_split(model, bad, problems);
    EXPECT_EQ(problems.list().size(), 1u);
  }
  EXPECT_EQ(possible_splits(model, 8).size(), 4u);  // 8x1, 4x2, 2x4, 1x8
}

TEST(Inference, ATiedEmbeddingIsStoredOnceOnOneDevice) {
  InferenceSetup setup = eight_4090({}, 128, 1);
  setup.model = find_preset("llama2-7b")->model;
  const double untied = size_inference(setup).device_weights_bytes;
  setup.model.tie_embeddings = true;
  EXPECT_EQ(size_inference(setup).device_weights_bytes, size_inference(setup).weights_bytes);
  EXPECT_EQ(untied - size_inference(setup).device_weights_bytes, 2.0 * 32000 * 4096);
}

TEST(Money, PurchaseOverThreeYearsAndPower) {
  EXPECT_NEAR(purchase_usd_per_hour(40000), 1.52207, 1e-5);
  EXPECT_NEAR(energy_usd_per_hour(5200), 0.52, 1e-12);
  const HostCost host{.devices = 8, .device_usd = 1600, .device_w = 400, .chassis_usd = 7200, .chassis_w = 2000};
  EXPECT_EQ(host.usd(), 20000);
  EXPECT_NEAR(host.usd_per_hour(), 0.761035 + 0.52, 1e-6);
  EXPECT_NEAR(million_tokens_per_usd(12200, 2.02), 21.7426, 1e-4);
}

}  // namespace
}  // namespace trine
