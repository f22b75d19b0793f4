#include "runtime/training/run_outputs.h"

#include <fmt/core.h>

#include "base/clock.h"
#include "base/text.h"

namespace trine {

RunOutputs::RunOutputs(const Config& config, const RunFolder& folder, Log& log, int64_t first_step)
    : config_(config),
      folder_(folder),
      log_(log),
      first_step_(first_step),
      progress_(log, {.first_step = first_step,
                      .last_step = config.steps,
                      .log_interval = config.log_interval,
                      .num_ranks = config.mesh.num_ranks(),
                      .memory_limit_bytes = std::nullopt}) {}

void RunOutputs::open_metrics(const MetricsHeader& header) {
  metrics_.emplace(folder_.metrics(), header, first_step_ > 1 ? std::optional(first_step_ - 1) : std::nullopt,
                   config_.tensorboard ? folder_.tensorboard() : std::filesystem::path());
}

void RunOutputs::open_trace(const TraceHeader& header) {
  if (!config_.trace.any() || !config_.trace_ranks.contains(header.rank)) return;
  trace_.emplace(folder_.trace(header.rank, first_step_, name(config_.trace_format)), header,
                 config_.trace_limit.count);
}

void RunOutputs::step(const StepMetrics& metrics) {
  summary_.add(metrics.time);
  last_step_s_ = metrics.time.step_s;
  if (!metrics_) return;
  metrics_->write(metrics);
  for (OutputFile* file : metrics_->files()) warn(*file);
  progress_.step(metrics);
}

bool RunOutputs::wants_trace(int64_t step) const {
  return trace_ && config_.trace.contains(step) && !trace_->full();
}

void RunOutputs::trace(const StepTrace& step) {
  trace_->write_step(step);
  warn(trace_->file());
  if (trace_->full())
    log_.warn(fmt::format("{} ends before step {}: --trace-limit is {}", trace_->file().path().string(), step.step,
                          format_bytes(config_.trace_limit.count)));
}

void RunOutputs::validation(int64_t step, double loss, double seconds) {
  if (metrics_) metrics_->write_validation(step, loss, wall_clock_s());
  log_.info(config_.rehearsal ? fmt::format("step {} | validation took {:.3f} s", step, seconds)
                              : fmt::format("step {} | validation loss {:.4f}", step, loss));
}

void RunOutputs::finish() {
  progress_.finish();
  log_.info(summary_.text());
  if (!config_.emulate_links.empty() && last_step_s_ > 0)
    log_.info(fmt::format(
        "clocks the last step took {:.4g} s here, which stand for {:.4g} ms on {}'s devices (1 : {:.4g})",
        last_step_s_, last_step_s_ / *config_.dilation * 1e3, config_.emulate_links, *config_.dilation));
  if (config_.speed_up != 1 && last_step_s_ > 0)
    log_.info(fmt::format("clocks the last step took {:.4g} s here, which stand for {:.4g} s (--speed-up {:g})",
                          last_step_s_, last_step_s_ * config_.speed_up, config_.speed_up));
}

bool RunOutputs::failed() { return (metrics_ && metrics_->failed()) || (trace_ && trace_->file().failed()); }

void RunOutputs::warn(OutputFile& file) {
  if (const auto warning = file.take_warning()) log_.warn(*warning);
}

}  // namespace trine
