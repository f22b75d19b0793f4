#include "analysis/numbers.h"

#include <cmath>
#include <fmt/core.h>

#include "base/text.h"

namespace trine {

std::string short_number(double value) {
  if (std::abs(value) >= 1000) return format_count(std::llround(value));
  return fmt::format("{:.4g}", value);
}

}  // namespace trine
