// metrics.jsonl: a header, then one JSON object a line for every step and every validation.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/mesh.h"
#include "runtime/accounting.h"
#include "runtime/output_file.h"

namespace trine {

struct MetricsHeader {
  std::string version, commit;
  Mesh layout;
  std::string model;
  int64_t num_parameters = 0;
};

struct StepMetrics {
  int64_t step = 0;                 // from 1 = after the first update
  double loss = 0;                  // mean over the counted tokens of the global batch, before the update
  std::optional<double> grad_norm;  // before clipping; none if the step was skipped
  double lr = 0;
  int64_t tokens = 0;  // so far
  double tokens_per_s = 0;
  double tflops = 0;          // per rank, model FLOPs
  std::optional<double> mfu;  // 0 to 1, where the device's peak is known or measured
  int64_t memory_peak_bytes = 0;
  double loss_scale = 1;
  bool skipped = false;  // not applied, because something was not finite
  StepBreakdown time;    // its step_s is the step's
};

// Numbers that are not finite become null: JSON has no word for them. Every line is written whole or not at all. A
// write that fails does not stop training: see OutputFile.
class MetricsWriter {
 public:
  // With `resumed_step`, an existing file is cut back to the lines of that step and before, and goes on.
  MetricsWriter(const std::filesystem::path& path, const MetricsHeader& header,
                std::optional<int64_t> resumed_step = std::nullopt);

  void write(const StepMetrics& metrics);
  void write_validation(int64_t step, double valid_loss);

  OutputFile& file() { return file_; }

 private:
  void write_text(const std::string& line);

  OutputFile file_;
  std::string unwritten_header_;  // until it is in the file
};

}  // namespace trine
