#include "analysis/failures.h"

#include <nlohmann/json.hpp>

#include "analysis/numbers.h"
#include "analysis/training_size.h"
#include "base/error.h"

namespace trine {

namespace {

constexpr double kNoProgress = 1e-6;  // of the time: the run never ends

}  // namespace

double checkpoint_bytes(double parameters) { return parameters * optimizer_bytes(2); }

RunOutcome run_outcome(const RunInputs& in, double device_hours, double recovery_min, double checkpoint_min) {
  TRINE_CHECK(in.devices > 0 && in.disk.hosts > 0 && in.compute_days > 0);
  RunOutcome out{.recovery_min = recovery_min, .checkpoint_min = checkpoint_min};
  out.between_failures_h = hours_between_failures(device_hours, in.devices);
  const FailureTimes times{out.between_failures_h * 60, recovery_min, checkpoint_min};
  const BestInterval best = best_interval(times);
  out.interval_min = best.interval, out.goodput = best.goodput;
  out.young_interval_min = young_interval(times);
  out.young_goodput = out.first_order = best.goodput;  // without a cost of checkpoints they are one
  if (out.young_interval_min > 0) {
    out.young_goodput = goodput(times, out.young_interval_min);
    out.first_order = first_order_goodput(times, out.young_interval_min);
  }
  out.recovery_share = 1 - recovery_only_goodput(times);

  out.spare_hosts = spare_hosts(1 / out.between_failures_h, in.repair_hours, in.spare_probability);
  const double days = in.compute_days / out.goodput, hours = days * 24, hosts = in.host.hosts_of(in.devices);
  if (!(out.goodput > kNoProgress)) return out;
  out.days = days;
  out.failures = hours / out.between_failures_h;
  out.kwh = in.host.watts() / 1e3 * hosts * hours;
  if (in.usd_per_device_hour)
    out.usd = *in.usd_per_device_hour * in.devices * hours;
  else if (in.host.usd() > 0)
    out.usd = purchase_usd_per_hour(in.host.usd()) * (hosts + static_cast<double>(out.spare_hosts)) * hours +
              *out.kwh * in.usd_per_kwh;
  return out;
}

namespace {

nlohmann::json to_json(const RunOutcome& out) {
  const auto known = [](const std::optional<double>& value) {
    return value ? nlohmann::json(*value) : nlohmann::json();
  };
  return {{"recovery_min", out.recovery_min},
          {"checkpoint_min", out.checkpoint_min},
          {"hours_between_failures", out.between_failures_h},
          {"interval_min", out.interval_min},
          {"goodput", out.goodput},
          {"young_interval_min", out.young_interval_min},
          {"young_goodput", out.young_goodput},
          {"first_order_goodput", out.first_order},
          {"recovery_share", out.recovery_share},
          {"lost", 1 - out.goodput},
          {"days", known(out.days)},
          {"failures", known(out.failures)},
          {"spare_hosts", out.spare_hosts},
          {"kwh", known(out.kwh)},
          {"usd", known(out.usd)}};
}

}  // namespace

nlohmann::json failures_json(const RunInputs& in, const std::vector<FailureRate>& rates) {
  using nlohmann::json;
  json list = json::array();
  const double disk_recovery = in.disk.recovery_min(), disk_checkpoint = in.disk.checkpoint_min();
  for (const FailureRate& rate : rates) {
    const bool named = find_failure_rate(rate.name) != nullptr;
    json one = to_json(run_outcome(in, rate.device_hours,
                                   in.recovery_min.value_or(named ? kArticleRecoveryMin : disk_recovery),
                                   in.checkpoint_min.value_or(named ? kArticleCheckpointMin : disk_checkpoint)));
    one["name"] = rate.name;
    one["source"] = rate.source;
    one["device_hours_per_failure"] = rate.device_hours;
    one["with_disk"] = to_json(run_outcome(in, rate.device_hours, disk_recovery, disk_checkpoint));
    list.push_back(std::move(one));
  }
  return {{"devices", in.devices},
          {"hosts", in.disk.hosts},
          {"compute_days", in.compute_days},
          {"checkpoint_bytes", in.disk.bytes},
          {"disk_bytes_per_s", in.disk.disk_bytes_per_s},
          {"restart_min", in.disk.restart_min},
          {"repair_hours", in.repair_hours},
          {"spare_probability", in.spare_probability},
          {"rented", in.usd_per_device_hour.has_value()},
          {"kw", in.host.watts() / 1e3 * in.host.hosts_of(in.devices)},
          {"rates", list}};
}

std::string failures_text(const nlohmann::json& f) {
  using nlohmann::json;
  const auto number = [](const json& value) { return value.is_null() ? "-" : short_number(value.get<double>()); };
  const auto percent = [](const json& value) { return fmt::format("{:.1f} %", 100 * value.get<double>()); };
  const auto minutes = [](const json& value) { return short_number(value.get<double>()) + " min"; };
  std::string text;
  for (const json& rate : f.at("rates"))
    text += fmt::format("{:<8} {} of {} devices' time is progress, with a checkpoint every {}\n",
                        rate.at("name").get<std::string>(), percent(rate.at("goodput")), number(f.at("devices")),
                        minutes(rate.at("interval_min")));
  text += fmt::format("\n{:<8} {:>12} {:>9} {:>9} {:>10} {:>9} {:>9} {:>9} {:>7} {:>11} {:>13}\n", "rate",
                      "dev-h/fail.", "every", "recovery", "checkpoint", "interval", "goodput", "days", "spares",
                      "MWh", "USD");
  const auto line = [&](const std::string& name, const std::string& hours, const json& one) {
    text += fmt::format("{:<8} {:>12} {:>9} {:>9} {:>10} {:>9} {:>9} {:>9} {:>7} {:>11} {:>13}\n", name, hours,
                        one.at("hours_between_failures").get<double>() < 1
                            ? minutes(one.at("hours_between_failures").get<double>() * 60)
                            : number(one.at("hours_between_failures")) + " h",
                        minutes(one.at("recovery_min")), minutes(one.at("checkpoint_min")),
                        minutes(one.at("interval_min")), percent(one.at("goodput")),
                        one.at("days").is_null() ? "never" : number(one.at("days")), number(one.at("spare_hosts")),
                        one.at("kwh").is_null() ? "-" : short_number(one.at("kwh").get<double>() / 1e3),
                        number(one.at("usd")));
  };
  for (const json& rate : f.at("rates")) {
    line(rate.at("name"), number(rate.at("device_hours_per_failure")), rate);
    line("  disk", "", rate.at("with_disk"));
  }
  text += fmt::format(
      "\n\"disk\": recovery and checkpoint from {} GB over {} hosts at {} GB/s each, and {} min to start again.\n",
      short_number(f.at("checkpoint_bytes").get<double>() / 1e9), number(f.at("hosts")),
      short_number(f.at("disk_bytes_per_s").get<double>() / 1e9), number(f.at("restart_min")));
  if (f.contains("mfu"))
    text +=
        fmt::format("{}: {} tokens on {} {} at {} of their peak (an MFU that you expect, none that is measured).\n",
                    f.at("model").get<std::string>(), number(f.at("tokens")), number(f.at("devices")),
                    f.at("cluster").get<std::string>(), percent(f.at("mfu")));
  text +=
      fmt::format("Days are of a run that would take {} days without failures; {} kW while it runs. USD: {}.\n",
                  number(f.at("compute_days")), number(f.at("kw")),
                  f.at("rented").get<bool>() ? "rent" : "purchase over 3 years, spare hosts included, and power");
  text += fmt::format("Spare hosts: with {} h of repair, the run waits for none with a probability of {}.\n",
                      number(f.at("repair_hours")), percent(f.at("spare_probability")));
  for (const json& rate : f.at("rates"))
    text += fmt::format(
        "{}: recovery alone takes {} of the time (R/M); checkpoints and lost work bring the loss to {}. Young's {} "
        "would\n  give {}; his first-order formula promises {}. Source: {}.\n",
        rate.at("name").get<std::string>(), percent(rate.at("recovery_share")), percent(rate.at("lost")),
        minutes(rate.at("young_interval_min")), percent(rate.at("young_goodput")),
        percent(rate.at("first_order_goodput")), rate.at("source").get<std::string>());
  return text;
}

}  // namespace trine
