#include "runtime/measure/samples.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace trine {

double quiet_limit(std::vector<double> samples) {
  const auto decile = samples.begin() + static_cast<ptrdiff_t>(samples.size() / 10);
  std::nth_element(samples.begin(), decile, samples.end());
  return 1.15 * *decile;
}

double quiet_mean(const std::vector<double>& samples) {
  if (samples.empty()) return 0;
  const double most = quiet_limit(samples);
  double sum = 0, count = 0;
  for (const double sample : samples)
    if (sample <= most) sum += sample, ++count;
  return sum / count;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

void fit(CpuOpCost& cost) {
  // us = constant + work * slope, with weights 1 / us^2: sums over shapes.
  double n = 0, x = 0, xx = 0, y = 0, xy = 0;
  for (const CpuOpCost::Shape& shape : cost.shapes) {
    const double work = cost.by_bytes ? shape.bytes : shape.flops, us = std::max(shape.us, 1e-3),
                 weight = 1 / (us * us);
    n += weight, x += weight * work, xx += weight * work * work, y += weight * us, xy += weight * work * us;
  }
  const double spread = n * xx - x * x;
  const bool has_sizes = spread > 1e-9 * n * xx;
  double slope = has_sizes ? (n * xy - x * y) / spread : 0, constant = has_sizes ? (y - slope * x) / n : 0;
  if (!has_sizes || constant < 0) slope = xx > 0 ? xy / xx : 0, constant = 0;
  constexpr double kInstant = 1e6;  // 1e9 a second; of ops that have no work
  if (slope <= 0) constant = n > 0 ? y / n : 0;
  cost.constant_us = constant;
  cost.giga_per_s = slope > 0 ? std::min(kInstant, 1e-3 / slope) : kInstant;
}

double streaming_part(double times_slower, double memory_slower, double core_slower) {
  if (memory_slower - core_slower < 0.02) return 0;
  return std::clamp((times_slower - core_slower) / (memory_slower - core_slower), 0.0, 1.0);
}

}  // namespace trine
