// What devices cost by the hour, rented or bought, and what a run costs.
#pragma once

namespace trine {

inline constexpr double kPurchaseYears = 3;      // over which a purchase is written off, as the article does
inline constexpr double kEnergyUsdPerKwh = 0.1;  // likewise
inline constexpr double kHoursPerYear = 365 * 24;

// Of something that is written off over `years`, used around the clock.
inline double purchase_usd_per_hour(double price_usd, double years = kPurchaseYears) {
  return price_usd / (years * kHoursPerYear);
}
// Of something that draws `watts` all the time: USD an hour.
inline double energy_usd_per_hour(double watts, double usd_per_kwh = kEnergyUsdPerKwh) {
  return watts / 1e3 * usd_per_kwh;
}

// One host with its devices: prices and power of each part.
struct HostCost {
  double devices = 1;
  double device_usd = 0, device_w = 0;
  double chassis_usd = 0, chassis_w = 0;  // everything but the devices
  double usd() const { return devices * device_usd + chassis_usd; }
  double watts() const { return devices * device_w + chassis_w; }
  // How many hosts so many devices are; those that fill none are their share of one.
  double hosts_of(double number) const { return number / devices; }
  double usd_per_hour(double usd_per_kwh = kEnergyUsdPerKwh) const {
    return purchase_usd_per_hour(usd()) + energy_usd_per_hour(watts(), usd_per_kwh);
  }
};

// Millions of tokens per USD.
inline double million_tokens_per_usd(double tokens_per_s, double usd_per_hour) {
  return tokens_per_s * 3600 / 1e6 / usd_per_hour;
}

}  // namespace trine
