#include "runtime/training/loss_scaler.h"

#include <algorithm>

namespace trine {

LossScaler::LossScaler(const LossScale& setting)
    : dynamic_(setting.dynamic), scale_(setting.dynamic ? kFirstScale : setting.value) {}

void LossScaler::update(bool finite) {
  if (!dynamic_) return;
  if (!finite) {
    exhausted_ = scale_ <= 1;
    scale_ = std::max(scale_ / 2, 1.0);
    clean_steps_ = 0;
  } else if (++clean_steps_ == kCleanStepsToDouble) {
    scale_ = std::min(scale_ * 2, kLargestScale);
    clean_steps_ = 0;
  }
}

}  // namespace trine
