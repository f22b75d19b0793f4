#include "analysis/numbers.h"

#include <cmath>
#include <fmt/core.h>

#include "base/text.h"

namespace trine {

std::string short_number(double value) {
  if (std::abs(value) >= 1000) return format_count(std::llround(value));
  return fmt::format("{:.4g}", value);
}

std::string rough_number(double value) {
  return std::abs(value) >= 999.5 ? format_count(std::llround(value)) : fmt::format("{:.3g}", value);
}

std::string usd_number(double usd) {
  return usd == 0 || std::abs(usd) >= 99.995 ? format_count(std::llround(usd)) : fmt::format("{:.2f}", usd);
}

TimeUnit unit_of_days(double days) {
  constexpr double kHours = 24, kMinutes = 24 * 60, kAtLeast = 2;
  if (std::abs(days) >= kAtLeast) return {};
  return std::abs(days) * kHours >= kAtLeast ? TimeUnit{kHours, "hours"} : TimeUnit{kMinutes, "minutes"};
}

std::string days_text(double days) {
  const TimeUnit unit = unit_of_days(days);
  return fmt::format("{} {}", short_number(days * unit.per_day), unit.name);
}

}  // namespace trine
