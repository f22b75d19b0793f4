// What a training run takes with failures: days, spare hosts, energy and money. `plan_llama failures`.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "analysis/goodput.h"
#include "analysis/money.h"

namespace trine {

// How long a checkpoint and a recovery take on these hosts, all of them writing or reading their own part at once.
struct CheckpointTimes {
  double bytes = 0;  // of the whole checkpoint
  double hosts = 1;
  double disk_bytes_per_s = 2e9;  // of a host; an NVMe drive or its share of a file server
  double restart_min = 5;         // to notice, to start again somewhere, to plan and to warm up
  double checkpoint_min() const { return bytes / hosts / disk_bytes_per_s / 60; }
  double recovery_min() const { return restart_min + checkpoint_min(); }
};
// Of a model with that many parameters: master weights and both moments in f32.
double checkpoint_bytes(double parameters);

struct RunInputs {
  double devices = 0;
  double compute_days = 0;                    // that the run would take if nothing ever failed
  HostCost host;                              // of a full one: prices and power; 0 where unknown
  std::optional<double> usd_per_device_hour;  // rent; none: bought
  CheckpointTimes disk;
  // Of the run in minutes; none: what goes with the rate (the article's for a named one, else from the disk).
  std::optional<double> recovery_min, checkpoint_min;
  double repair_hours = 24;         // that a failed host is away
  double spare_probability = 0.99;  // that the run waits for no host
  double usd_per_kwh = kEnergyUsdPerKwh;
};

struct RunOutcome {
  double recovery_min = 0, checkpoint_min = 0, between_failures_h = 0;
  double interval_min = 0, goodput = 0;              // best
  double young_interval_min = 0, young_goodput = 0;  // at Young's interval; first_order: what his formula promises
  double first_order = 0;
  double recovery_share = 0;  // R/M: the loss if only recoveries counted
  int64_t spare_hosts = 0;
  // None: it never ends (failures come faster than it recovers: less than a millionth of the time is progress).
  std::optional<double> days, failures, kwh;
  std::optional<double> usd;  // none also where no price is known
};
// Devices that fill no host pay for their share of one. REQUIRES: devices, hosts and days above 0.
RunOutcome run_outcome(const RunInputs& inputs, double device_hours_per_failure, double recovery_min,
                       double checkpoint_min);

// Every rate with the article's recovery and checkpoint (or those given) and with those of the disk:
// {devices, hosts, compute_days, rates: [{name, device_hours_per_failure, source, recovery_min, checkpoint_min,
//  hours_between_failures, interval_min, goodput, young_interval_min, young_goodput, first_order_goodput,
//  recovery_share, lost, days, failures, spare_hosts, kwh, usd, with_disk: {the same}}], ...}
nlohmann::json failures_json(const RunInputs& inputs, const std::vector<FailureRate>& rates);
// For people, of what failures_json() says and nothing else.
std::string failures_text(const nlohmann::json& failures);

}  // namespace trine
