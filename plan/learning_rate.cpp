#include "plan/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace trine {

double learning_rate(const Config& config, int64_t step) {
  if (step < config.warmup) return config.lr * static_cast<double>(step + 1) / static_cast<double>(config.warmup);
  if (config.lr_schedule == LrSchedule::kConstant) return config.lr;
  const double length = static_cast<double>(std::max<int64_t>(1, config.steps - config.warmup));
  const double progress = std::min(1.0, static_cast<double>(step - config.warmup) / length);
  const double remaining =
      config.lr_schedule == LrSchedule::kLinear ? 1 - progress : (1 + std::cos(std::numbers::pi * progress)) / 2;
  return config.min_lr + (config.lr - config.min_lr) * remaining;
}

}  // namespace trine
