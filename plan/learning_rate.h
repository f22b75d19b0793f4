// The learning rate of each step.
#pragma once

#include <cstdint>

#include "plan/config/config.h"

namespace trine {

// Of step i, counted from 0: lr (i+1) / warmup while i < warmup; then from lr at i = warmup to min_lr at i = steps,
// along half a cosine or a line; a constant schedule stays at lr.
double learning_rate(const Config& config, int64_t step);

}  // namespace trine
