// What failures cost a training run: the part of the time that ends up as progress, the checkpoint interval that
// makes it largest, and the hosts to keep in reserve.
//
// Failures come at random with a mean time M between them (exponential), also while the run recovers. After each
// one the run needs R to be back where its newest checkpoint was; a checkpoint stops it for C; tau is the work
// between two of them. All times in one unit, of the caller's choice.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace trine {

struct FailureTimes {
  double between_failures = 0;  // M > 0, of the whole cluster
  double recovery = 0;          // R >= 0: notice, replace, start, load
  double checkpoint = 0;        // C >= 0
};

// Useful part of the time (Daly 2006, exact for exponential failures):
//   tau / (M e^(R/M) (e^((tau + C)/M) - 1))
// REQUIRES: interval > 0.
double goodput(const FailureTimes& times, double interval);

struct BestInterval {
  double interval = 0;  // tau; 0 if a checkpoint costs nothing: then one would save all the time
  double goodput = 0;
};
// The interval with the largest goodput: the root of (1 - x) e^(x + C/M) = 1 with x = tau / M, between 0 and 1.
BestInterval best_interval(const FailureTimes& times);

// First order in C/M (Young 1974): sqrt(2 C M). Good where recovery and checkpoints are short against M.
double young_interval(const FailureTimes& times);
// What is left if each failure costs half an interval and R, and nothing fails meanwhile: 1 - C/tau - (tau/2 +
// R)/M. Below zero where failures come faster than it allows for.
double first_order_goodput(const FailureTimes& times, double interval);
// What is left if only the recoveries are lost: 1 - R/M.
double recovery_only_goodput(const FailureTimes& times);

// How often devices fail: mean device-hours per failure that stops the run.
struct FailureRate {
  std::string_view name;
  double device_hours = 0;
  std::string_view source;
};
// "article", "llama3", "opt175".
std::span<const FailureRate> failure_rates();
const FailureRate* find_failure_rate(std::string_view name);  // nullptr if there is none
// A name, or device-hours. ConfigError for anything else.
FailureRate parse_failure_rate(const std::string& text);

// The article's recovery and checkpoint, in minutes; published rates are compared under them.
inline constexpr double kArticleRecoveryMin = 10, kArticleCheckpointMin = 1;

// Mean hours between two failures of any of `devices`.
inline double hours_between_failures(double device_hours, double devices) { return device_hours / devices; }

// The smallest k with P(X <= k) >= probability, X Poisson; from a mean of a million on the normal distribution's, which is
// then within a few of it. REQUIRES: mean >= 0, 0 < probability < 1.
int64_t poisson_quantile(double mean, double probability);
// Hosts to keep in reserve: failed ones are away for `repair_hours` each, so that their number is Poisson; with so
// many spares the run waits for none with this probability.
int64_t spare_hosts(double failures_per_hour, double repair_hours, double probability);

}  // namespace trine
