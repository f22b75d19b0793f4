#include "analysis/goodput.h"

#include <array>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/text.h"

namespace trine {
namespace {

constexpr double kLeastFailureHours = 0.01, kMostFailureHours = 1e12;

}  // namespace

double goodput(const FailureTimes& t, double interval) {
  TRINE_CHECK(interval > 0 && t.between_failures > 0);
  const double m = t.between_failures;
  return interval / m / (std::exp(t.recovery / m) * std::expm1((interval + t.checkpoint) / m));
}

BestInterval best_interval(const FailureTimes& t) {
  TRINE_CHECK(t.between_failures > 0 && t.recovery >= 0 && t.checkpoint >= 0);
  const double m = t.between_failures, c = t.checkpoint / m;
  if (c == 0) return {0, std::exp(-t.recovery / m)};
  // x + c + log(1 - x) falls from c to -infinity.
  double low = 0, high = 1;
  for (int i = 0; i < 200; ++i) {
    const double x = (low + high) / 2;
    (x + c + std::log1p(-x) > 0 ? low : high) = x;
  }
  const double interval = (low + high) / 2 * m;
  return {interval, goodput(t, interval)};
}

double young_interval(const FailureTimes& t) { return std::sqrt(2 * t.checkpoint * t.between_failures); }

double first_order_goodput(const FailureTimes& t, double interval) {
  return 1 - t.checkpoint / interval - (interval / 2 + t.recovery) / t.between_failures;
}

double recovery_only_goodput(const FailureTimes& t) { return 1 - t.recovery / t.between_failures; }

std::span<const FailureRate> failure_rates() {
  static constexpr std::array<FailureRate, 3> kRates = {{
      {"article", 30 * 24, "the article's assumption: a failure per card and month"},
      {"llama3", 54.0 * 24 * 16384 / 419,
       "Llama 3 405B: 419 unexpected interruptions of 16,384 H100 in 54 days (arXiv:2407.21783, section 3.3)"},
      {"opt175", 12.0 * 992, "OPT-175B: about 12 h between failures of 992 A100 (its logbook, metaseq)"},
  }};
  return kRates;
}

const FailureRate* find_failure_rate(std::string_view name) {
  for (const FailureRate& rate : failure_rates())
    if (rate.name == name) return &rate;
  return nullptr;
}

FailureRate parse_failure_rate(const std::string& text) {
  if (const FailureRate* rate = find_failure_rate(text)) return *rate;
  double hours = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), hours);
  if (error == std::errc{} && end == text.data() + text.size() && hours >= kLeastFailureHours &&
      hours <= kMostFailureHours)
    return {"own", hours, "as given"};
  const auto meant = nearest(text, {"article", "llama3", "opt175"});
  throw ConfigError(
      fmt::format("[flags] --failures is \"{}\". It needs article, llama3, "
                  "opt175 or device-hours per failure from 0.01 to 1e12, such as 20000.{}",
                  text, meant ? fmt::format(" Did you mean {}?", *meant) : ""));
}

namespace {

// z with P(Z <= z) = probability, Z standard normal, by bisection.
double normal_quantile(double probability) {
  double low = -40, high = 40;
  for (int i = 0; i < 100; ++i) {
    const double z = (low + high) / 2;
    (0.5 * std::erfc(-z / std::sqrt(2.0)) < probability ? low : high) = z;
  }
  return high;
}

}  // namespace

int64_t poisson_quantile(double mean, double probability) {
  TRINE_CHECK(mean >= 0 && mean < 1e18 && probability > 0 && probability < 1);
  if (mean == 0) return 0;
  if (mean >= 1e6) return static_cast<int64_t>(mean + normal_quantile(probability) * std::sqrt(mean));
  // Terms by logarithms: e^-mean is 0 for a mean of a thousand.
  double sum = 0;
  for (double k = 0;; ++k) {
    sum += std::exp(k * std::log(mean) - mean - std::lgamma(k + 1));
    // Past the mean, terms that no longer add anything: rounding keeps the sum below a probability near 1.
    if (sum >= probability || k > mean + 50 * std::sqrt(mean) + 50) return static_cast<int64_t>(k);
  }
}

int64_t spare_hosts(double failures_per_hour, double repair_hours, double probability) {
  return poisson_quantile(failures_per_hour * repair_hours, probability);
}

}  // namespace trine
