// How training tells where it is: a line every so often, and on a terminal a bar that moves in between.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "runtime/job/log.h"
#include "runtime/training/metrics.h"

namespace trine {

struct ProgressSettings {
  int64_t first_step = 1;  // of this run: more than 1 after a resume
  int64_t last_step = 0;
  int64_t log_interval = 10;
  int num_ranks = 1;
  std::optional<int64_t> memory_limit_bytes;  // per rank
};

// step 120/1000 | loss 3.214 | gnorm 0.84 | lr 2.9e-4 | 1.842 s | 17.8k tok/s | MFU 41.2% | comm 22% (tp 14 pp 3 dp
// 5) bubble 9% | mem 21.3/23.5 GiB | eta 27m        (one line; without MFU where the peak is unknown, without
// communication and bubble for one rank)
std::string progress_line(const StepMetrics& metrics, const ProgressSettings& settings, double eta_s);

class Progress {
 public:
  Progress(Log& log, ProgressSettings settings) : log_(log), settings_(settings) {}

  // After each step, in order. Prints the line for the first and the last step and for multiples of log_interval.
  void step(const StepMetrics& metrics);
  // Removes the bar. Lines in between are simply logged.
  void finish() { log_.status(""); }

 private:
  Log& log_;
  ProgressSettings settings_;
  double typical_step_s_ = 0;
  int64_t drawn_ns_ = 0;
};

}  // namespace trine
