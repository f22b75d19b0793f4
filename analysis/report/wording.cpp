#include "analysis/report/wording.h"

#include <cmath>
#include <fmt/format.h>

namespace trine {

std::string seconds_text(double s) {
  const double size = std::abs(s);
  if (size >= 0.9995) return fmt::format("{:.2f} s", s);
  if (size >= 0.0009995) return fmt::format("{:.1f} ms", s * 1e3);
  return fmt::format("{:.0f} us", s * 1e6);
}

std::string percent_text(double part, double whole) {
  return fmt::format("{:.1f} %", whole > 0 ? 100 * part / whole : 0.0);
}

std::string rank_text(const Report& report, int rank) {
  const Coordinate at = report.mesh.coordinate(rank);
  const std::string& host = report.host(rank);
  return fmt::format("rank {} (pp {}, dp {}, tp {}{})", rank, at.pp, at.dp, at.tp,
                     host.empty() ? "" : ", host " + host);
}

std::string clocks_text(const Report& report) {
  const auto& [cluster, links_only, times] = report.modelled;
  if (cluster.empty()) return "";
  const std::string there = fmt::format("a step of {} stands for {}", seconds_text(report.mean.step_s),
                                        seconds_text(report.mean.step_s / report.modelled.s_per_second()));
  if (links_only)
    return fmt::format(
        "Links are emulated: those of {}, {:.4g} times slower, as this machine's kernels are; {} there.", cluster,
        times, there);
  if (times == 1) return fmt::format("A rehearsal: kernels and links are modelled, of {}.", cluster);
  return fmt::format("A rehearsal: kernels and links are modelled, of {}, {:.4g} times faster; {} there.", cluster,
                     times, there);
}

std::string_view kind_text(EventKind kind) {
  switch (kind) {
    case EventKind::kCompute:
      return "compute";
    case EventKind::kRecompute:
      return "recomputation";
    case EventKind::kCommTp:
      return "exposed tp communication";
    case EventKind::kCommPp:
      return "exposed pp communication";
    case EventKind::kCommDp:
      return "exposed dp communication";
    case EventKind::kWait:
      return "waiting for late ranks";
    case EventKind::kBubble:
      return "the pipeline's bubble";
    case EventKind::kOptimizer:
      return "the optimizer";
    case EventKind::kData:
      return "reading data";
    case EventKind::kHost:
      return "the host";
    case EventKind::kCheckpoint:
      return "the checkpoint";
    case EventKind::kIdle:
      return "idle time";
  }
  return "";
}

std::string_view text_of(PipelineKind kind) {
  switch (kind) {
    case PipelineKind::kGpipe:
      return "gpipe";
    case PipelineKind::k1F1B:
      return "1f1b";
    case PipelineKind::kInterleaved:
      return "interleaved";
    case PipelineKind::kZeroBubble:
      return "zero-bubble";
  }
  return "";
}

}  // namespace trine
