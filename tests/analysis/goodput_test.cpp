#include "analysis/goodput.h"

#include <cmath>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>
#include <random>

#include "analysis/failures.h"
#include "base/error.h"

namespace trine {
namespace {

FailureTimes article_times(double device_hours) {
  return {.between_failures = hours_between_failures(device_hours, 2048) * 60, .recovery = 10, .checkpoint = 1};
}

TEST(Goodput, ThePublishedRatesOn2048Devices) {
  // reckoned elsewhere: reference values of the exact form, the first with 21.1 minutes between failures
  EXPECT_NEAR(best_interval({21.1, 10, 1}).goodput, 0.450026, 1e-6);
  EXPECT_NEAR(best_interval(article_times(720)).goodput, 0.450, 1e-3);
  EXPECT_NEAR(best_interval(article_times(720)).interval, 5.85, 0.01);
  EXPECT_NEAR(best_interval(article_times(find_failure_rate("llama3")->device_hours)).goodput, 0.95726, 5e-5);
  EXPECT_NEAR(best_interval(article_times(find_failure_rate("opt175")->device_hours)).goodput, 0.900, 5e-4);
  // the article's own half: 10 minutes of 21.1
  EXPECT_NEAR(1 - recovery_only_goodput(article_times(720)), 0.474, 5e-4);
  EXPECT_NEAR(find_failure_rate("llama3")->device_hours, 50677, 1);
}

// Work for tau, save for C; a failure costs what was not saved, and R during which it may fail again.
double simulated_goodput(const FailureTimes& t, double interval, int segments, uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto until_failure = [&] {
    return -std::log((static_cast<double>(random() >> 11) + 0.5) / 0x1p53) * t.between_failures;
  };
  double time = 0, next = until_failure();
  const auto survives = [&](double span) {
    if (next > span) return next -= span, time += span, true;
    time += next, next = until_failure();
    return false;
  };
  for (int i = 0; i < segments; ++i)
    while (!survives(interval + t.checkpoint))
      while (!survives(t.recovery)) continue;
  return interval * segments / time;
}

TEST(Goodput, EqualsARunThatIsPlayedThrough) {
  const struct {
    FailureTimes times;
    double interval;
  } cases[] = {
      {{21.09, 10, 1}, 5.85},  // the article's: first-order formulas are far off
      {{21.09, 10, 1}, 20},   {{1484.7, 10, 1}, 53}, {{60, 0, 5}, 10}, {{100, 90, 2}, 15},
  };
  for (const auto& [times, interval] : cases) {
    const double played = simulated_goodput(times, interval, 200'000, 7);
    EXPECT_NEAR(goodput(times, interval) / played, 1, 0.01) << times.between_failures << " " << interval;
  }
}

TEST(Goodput, NoOtherIntervalIsBetter) {
  for (const FailureTimes& times : {FailureTimes{21.09, 10, 1}, {1484.7, 10, 1}, {5, 1, 20}, {1e6, 10, 1e-3}}) {
    const BestInterval best = best_interval(times);
    EXPECT_DOUBLE_EQ(best.goodput, goodput(times, best.interval));
    double most = 0, at = 0;
    for (double interval = best.interval / 8; interval < best.interval * 8; interval *= 1.001)
      if (const double g = goodput(times, interval); g > most) most = g, at = interval;
    EXPECT_GE(best.goodput, most);
    EXPECT_NEAR(at / best.interval, 1, 2e-3);
  }
}

TEST(Goodput, YoungIsTheLimitOfRareFailures) {
  const FailureTimes rare{1e6, 10, 1};
  EXPECT_NEAR(best_interval(rare).interval / young_interval(rare), 1, 1e-3);
  EXPECT_NEAR(first_order_goodput(rare, young_interval(rare)), best_interval(rare).goodput, 1e-5);
  // and no guide where failures are frequent: he promises half of what there is
  const FailureTimes article = article_times(720);
  EXPECT_NEAR(first_order_goodput(article, young_interval(article)), 0.22, 0.005);
}

TEST(Goodput, ExtremesHaveValues) {
  EXPECT_EQ(best_interval({100, 10, 0}).interval, 0);
  EXPECT_NEAR(best_interval({100, 10, 0}).goodput, std::exp(-0.1), 1e-12);
  EXPECT_NEAR(best_interval({100, 10, 1e-9}).goodput, std::exp(-0.1), 1e-5);
  EXPECT_NEAR(best_interval({1e12, 10, 1}).goodput, 1, 1e-5);
  // a checkpoint that takes far longer than anything lasts
  const BestInterval hopeless = best_interval({1, 10, 30});
  EXPECT_GT(hopeless.goodput, 0);
  EXPECT_LT(hopeless.goodput, 1e-15);
}

TEST(Goodput, NamesAndHoursOfFailureRates) {
  EXPECT_EQ(parse_failure_rate("article").device_hours, 720);
  EXPECT_EQ(parse_failure_rate("2e4").device_hours, 20000);
  for (const char* wrong : {"", "lama3", "0", "-5", "inf", "nan", "12h", "0.001", "1e13"})
    EXPECT_THROW(parse_failure_rate(wrong), ConfigError) << wrong;
}

TEST(SpareHosts, ArePoissonQuantiles) {
  // P(X <= k) of tables
  EXPECT_EQ(poisson_quantile(1, 0.90), 2);   // 0.9197
  EXPECT_EQ(poisson_quantile(1, 0.92), 3);   // 0.9810
  EXPECT_EQ(poisson_quantile(5, 0.99), 11);  // P(X <= 10) = 0.9863
  EXPECT_EQ(poisson_quantile(0, 0.99), 0);
  // sums for a large mean: about mean + 2.33 standard deviations
  EXPECT_NEAR(poisson_quantile(10000, 0.99), 10000 + 233, 3);
  EXPECT_NEAR(poisson_quantile(999'999, 0.99), poisson_quantile(1'000'001, 0.99), 8);
  EXPECT_EQ(spare_hosts(1.0 / 24, 24, 0.92), 3);
}

TEST(RunOutcome, DaysEnergyAndMoneyAddUp) {
  const RunInputs run{
      .devices = 2048,
      .compute_days = 30,
      .host = {.devices = 8, .device_usd = 1600, .device_w = 450, .chassis_usd = 8000, .chassis_w = 2000},
      .disk = {.bytes = 828e9, .hosts = 256}};
  const RunOutcome out = run_outcome(run, 720, 10, 1);
  EXPECT_NEAR(*out.days, 30 / 0.450, 0.02);
  EXPECT_NEAR(*out.failures, *out.days * 24 * 2048 / 720, 1e-6);
  EXPECT_NEAR(*out.kwh, 256 * 5.6 * *out.days * 24, 1e-3);
  // 68 hosts fail in the 24 hours that one is away; a few more to be sure
  EXPECT_NEAR(static_cast<double>(out.spare_hosts), 68.3 + 2.33 * std::sqrt(68.3), 2);
  const double host_hour = (8 * 1600 + 8000) / (3 * 365 * 24.0);
  EXPECT_NEAR(*out.usd, (256 + static_cast<double>(out.spare_hosts)) * host_hour * *out.days * 24 + 0.1 * *out.kwh,
              1);

  RunInputs rented = run;
  rented.usd_per_device_hour = 0.4;
  EXPECT_NEAR(*run_outcome(rented, 720, 10, 1).usd, 0.4 * 2048 * *out.days * 24, 1);
  RunInputs unknown = run;
  unknown.host = {.devices = 8};
  EXPECT_FALSE(run_outcome(unknown, 720, 10, 1).usd);

  // Twelve cards pay for a host and a half.
  RunInputs twelve = run;
  twelve.devices = 12, twelve.disk.hosts = 2;
  const RunOutcome few = run_outcome(twelve, 1e10, 0, 0);
  EXPECT_NEAR(*few.kwh, 1.5 * 5.6 * *few.days * 24, 1e-6);
  EXPECT_NEAR(*few.usd, 1.5 * host_hour * *few.days * 24 + 0.1 * *few.kwh, 1e-3);
}

// A failure each 3 seconds and 10 minutes to recover: no days, no money, and spare hosts as the normal distribution says.
TEST(RunOutcome, ARunThatNeverEndsHasNoDays) {
  const RunInputs run{.devices = 1e7,
                      .compute_days = 30,
                      .host = {.devices = 8, .device_usd = 1600, .device_w = 450},
                      .disk = {.bytes = 828e9, .hosts = 1.25e6}};
  const RunOutcome out = run_outcome(run, 0.01, 10, 1);
  EXPECT_FALSE(out.days || out.failures || out.kwh || out.usd);
  EXPECT_NEAR(static_cast<double>(out.spare_hosts), 24e9 + 2.3263 * std::sqrt(24e9), 10);
  const nlohmann::json json = failures_json(run, {{"own", 0.01, "as given"}});
  EXPECT_TRUE(json["rates"][0]["days"].is_null());
  // A long one ends.
  RunInputs longer = run;
  longer.compute_days = 5e6;
  EXPECT_NEAR(*run_outcome(longer, 1e12, 0, 0).days, 5e6, 1);
  EXPECT_THAT(failures_text(json), testing::HasSubstr("never"));
}

TEST(CheckpointTimes, FollowBytesHostsAndDisk) {
  const CheckpointTimes times{
      .bytes = checkpoint_bytes(70e9), .hosts = 10, .disk_bytes_per_s = 1e9, .restart_min = 4};
  EXPECT_DOUBLE_EQ(times.checkpoint_min(), 84.0 / 60);
  EXPECT_DOUBLE_EQ(times.recovery_min(), 4 + 84.0 / 60);
}

}  // namespace
}  // namespace trine
