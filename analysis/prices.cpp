#include "analysis/prices.h"

#include <cmath>
#include <fmt/format.h>

#include "analysis/article/inputs.h"
#include "analysis/machine.h"
#include "base/text.h"

namespace trine {
namespace {

struct Nic {
  double gb_per_s, usd, port_usd;
  const char* words;
};

std::vector<Nic> nics_for_sale() {
  const ArticleInputs article;
  constexpr double kPorts = 8;  // of the switches that it prices
  return {{1.25, article.nic_10g_usd, article.switch_10g_usd / kPorts, "10 Gb/s"},
          {25, article.nic_200g_usd, article.switch_200g_usd / kPorts, "200 Gb/s"}};
}

bool has_price(const Profile& profile) { return profile.device_usd > 0; }

std::string source_of(const Profile& profile, const char* path) {
  const auto found = profile.sources.find(path);
  return found == profile.sources.end() ? std::string("as given") : found->second.source;
}

}  // namespace

Price price_of_nics(const Profile& profile, int devices, double nics, double gb_per_s) {
  const int hosts = Machine(profile).hosts(devices);
  for (const Nic& nic : nics_for_sale())
    if (gb_per_s <= nic.gb_per_s)
      return {hosts * nics * (nic.usd + nic.port_usd),
              fmt::format("{} NICs of {} at {:.0f} USD, each with a switch's port at {:.0f} (Bojie Li, 2023)",
                          format_count(static_cast<int64_t>(hosts * nics)), nic.words, nic.usd, nic.port_usd)};
  return not_for_sale("no price is known of NICs beyond 200 Gb/s");
}

std::optional<double> nic_usd(double gbit) {
  if (gbit == 1) return 0.0;
  for (const Nic& nic : nics_for_sale())
    if (gbit == 8 * nic.gb_per_s) return nic.usd + nic.port_usd;
  return std::nullopt;
}

bool only_much_faster_nics(double gb_per_s) {
  for (const Nic& nic : nics_for_sale())
    if (gb_per_s <= nic.gb_per_s) return nic.gb_per_s > 2 * gb_per_s;
  return false;
}

Price price_of_cluster(const Profile& now, const Profile& other, int devices) {
  if (!has_price(now)) return not_for_sale(fmt::format("what {} cost is not known", now.name));
  if (!has_price(other)) return not_for_sale(fmt::format("what {} cost is not known", other.name));
  const auto usd = [](double value) { return format_count(std::llround(value)); };
  const double then = Machine(other).purchase_usd(devices), before = Machine(now).purchase_usd(devices);
  return {then - before,
          fmt::format("{} at {} USD ({}), {} with hosts, instead of {} at {} ({}), {} with hosts",
                      other.device.name, usd(other.device_usd), source_of(other, "price.device_usd"), usd(then),
                      now.device.name, usd(now.device_usd), source_of(now, "price.device_usd"), usd(before))};
}

std::optional<double> token_cost_change(const Profile& now, const Profile& then, int devices, const Price& price,
                                        double step_s_now, double step_s_then) {
  if (!price.usd) return std::nullopt;
  if (*price.usd == 0) return step_s_then / step_s_now - 1;
  if (!has_price(now)) return std::nullopt;
  const Machine machine(now);
  const double hour_now = machine.usd_per_hour(devices),
               hour_then = purchase_usd_per_hour(machine.purchase_usd(devices) + *price.usd) +
                           energy_usd_per_hour(Machine(then).watts(devices));
  return hour_then * step_s_then / (hour_now * step_s_now) - 1;
}

}  // namespace trine
