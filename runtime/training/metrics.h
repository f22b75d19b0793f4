// metrics.jsonl: a header, then one JSON object a line for every step and every validation.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/mesh.h"
#include "base/output_file.h"
#include "runtime/training/event_file.h"
#include "runtime/training/job_peak.h"
#include "trace/trace.h"

namespace trine {

struct MetricsHeader {
  std::string version, commit;
  Mesh layout;
  std::string model;
  int64_t num_parameters = 0;
  std::optional<JobPeak> peak = {};  // what the MFU is a share of
  ModelledTime modelled = {};
};

struct StepMetrics {
  int64_t step = 0;                 // from 1 = after the first update
  double loss = 0;                  // mean over the counted tokens of the global batch, before the update
  std::optional<double> grad_norm;  // before clipping; none if the step was skipped
  double lr = 0;
  int64_t tokens = 0;  // so far
  double tokens_per_s = 0;
  double tflops = 0;               // per rank, model FLOPs
  std::optional<double> mfu = {};  // 0 to 1, where the device's peak is known or measured
  int64_t memory_peak_bytes = 0;
  double loss_scale = 1;
  bool skipped = false;    // not applied, because something was not finite
  StepBreakdown time;      // its step_s is the step's
  double time_unix_s = 0;  // wall clock at the step's end
};

// Numbers that are not finite become null: JSON has no word for them. Every line is written whole or not at all. A
// write that fails does not stop training: see OutputFile. TensorBoard's event file gets the numbers of every line
// as scalars by the same names.
class MetricsWriter {
 public:
  // With `resumed_step`, existing files are cut back to that step and before, and go on. `tensorboard`: the folder
  // of the event file; empty: none.
  MetricsWriter(const std::filesystem::path& path, const MetricsHeader& header,
                std::optional<int64_t> resumed_step = std::nullopt, const std::filesystem::path& tensorboard = {});

  void write(const StepMetrics& metrics);
  void write_validation(int64_t step, double valid_loss, double time_unix_s);

  // metrics.jsonl, and the event file if there is one.
  std::vector<OutputFile*> files();
  bool failed();  // any of them, ever

 private:
  void write_line(const nlohmann::ordered_json& line);
  void write_text(const std::string& text);

  OutputFile file_;
  std::string unwritten_header_;  // until it is in the file
  std::optional<EventFile> events_;
};

}  // namespace trine
