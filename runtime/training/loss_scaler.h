// The factor that fp16 multiplies the loss with, so that small gradients do not vanish (Micikevicius et al. 2018).
#pragma once

#include "plan/config/config.h"

namespace trine {

// A dynamic scale starts at 65536, doubles after 1,000 clean steps in a row and halves on a non-finite gradient,
// never below 1. A fixed scale never moves.
class LossScaler {
 public:
  static constexpr double kFirstScale = 65536;
  static constexpr double kLargestScale = 0x1p40;  // far from where scale * loss would leave f32
  static constexpr int kCleanStepsToDouble = 1000;

  explicit LossScaler(const LossScale& setting);

  double scale() const { return scale_; }
  int clean_steps() const { return clean_steps_; }  // since the scale changed
  // As it was saved. A fixed scale stays what it is.
  void restore(double scale, int clean_steps) {
    if (dynamic_) scale_ = scale, clean_steps_ = clean_steps;
  }
  bool dynamic() const { return dynamic_; }
  // After each step: were all gradients finite? If not, the step was not applied.
  void update(bool finite);
  // A gradient was not finite although the scale is 1: no scale can help, training must stop (exit code 9).
  bool exhausted() const { return exhausted_; }

 private:
  bool dynamic_;
  double scale_;
  int clean_steps_ = 0;
  bool exhausted_ = false;
};

}  // namespace trine
