// What the ops of a training step take on this rank's backend, in place: a model of true shapes trains for some
// steps, and every node's executions are samples.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "cluster/cpu_profile.h"
#include "plan/config/config.h"
#include "runtime/device/backend.h"

namespace trine {

struct OpShape {
  std::string op;
  double flops = 0, bytes = 0;
  auto operator<=>(const OpShape&) const = default;
};

struct StepTimes {
  std::map<OpShape, std::vector<double>> us;  // of each execution on the compute lane in a quiet time
  std::vector<double> rest_us;                // of a step, beside them

  void add(const StepTimes& other);
};

// What is trained: a preset or folder as --model takes it, a rank's part of it with tp of them, so many of its
// layers (of a large model two, and 512 tokens at the most), one microbatch size, on random tokens.
struct MeasuredStep {
  std::string model = "tiny";
  int tp = 1;
  int micro_batch = 1;
  DType dtype = DType::kBF16;
  int threads = 1;
  bool recompute = false;
};
// ConfigError. The heads, ffn and vocabulary of a tp rank are made a whole model's.
Config config_of(const MeasuredStep& step);

// One rank's steps until `budget_s` is over, at least three; the first does not count, nor do tenths of a second that
// took longer per step than the quiet ones (quiet_limit()). What interrupts every tenth of a second is part of an op's
// time, as it is of a training's step.
StepTimes measure_steps(const Config& config, Backend& backend, double budget_s);

// A family's shapes, each a mean, fitted; `together` (while all cores of the host do the same) gives what
// streams. memory_slower and core_slower as in streaming_part().
std::vector<CpuOpCost> op_costs(const StepTimes& alone, const StepTimes& together, DType dtype, int threads,
                                double memory_slower, double core_slower);

}  // namespace trine
