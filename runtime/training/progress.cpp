#include "runtime/training/progress.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <iterator>

#include "base/clock.h"

namespace trine {
namespace {

// 2.9e-4, not 2.9e-04.
std::string short_exponent(double value) {
  std::string text = fmt::format("{:.1e}", value);
  const size_t sign = text.find('e') + 1;
  if (sign < text.size() && text.size() > sign + 2 && text[sign + 1] == '0') text.erase(sign + 1, 1);
  if (sign < text.size() && text[sign] == '+') text.erase(sign, 1);
  return text;
}

std::string short_count(double value) {  // "812", "17.8k", "1.2M"
  if (value >= 1e6) return fmt::format("{:.1f}M", value * 1e-6);
  return value >= 1e3 ? fmt::format("{:.1f}k", value * 1e-3) : fmt::format("{:.0f}", value);
}

std::string short_time(double seconds) {  // "42s", "27m", "1h 03m"
  const int64_t s = std::llround(seconds), minutes = std::llround(seconds / 60);
  if (s < 60) return fmt::format("{}s", s);
  return minutes < 60 ? fmt::format("{}m", minutes) : fmt::format("{}h {:02}m", minutes / 60, minutes % 60);
}

std::string memory_used(int64_t used, std::optional<int64_t> limit) {  // "21.3/23.5 GiB"
  const bool gib = std::max(used, limit.value_or(0)) >= int64_t{1} << 30;
  const double unit = gib ? 0x1p30 : 0x1p20;
  const auto number = [&](int64_t bytes) {
    return fmt::format("{:.{}f}", static_cast<double>(bytes) / unit, gib ? 1 : 0);
  };
  return fmt::format("{}{} {}", number(used), limit ? "/" + number(*limit) : "", gib ? "GiB" : "MiB");
}

std::string communication(const StepBreakdown& time) {
  const double total = std::max(time.step_s, 1e-12);
  const auto percent = [&](double seconds) { return 100 * seconds / total; };
  const double tp = time[EventKind::kCommTp], pp = time[EventKind::kCommPp], dp = time[EventKind::kCommDp];
  return fmt::format(" | comm {:.0f}% (tp {:.0f} pp {:.0f} dp {:.0f}) bubble {:.0f}%", percent(tp + pp + dp),
                     percent(tp), percent(pp), percent(dp), percent(time[EventKind::kBubble]));
}

// A rehearsal's steps are applied and have none.
std::string loss_text(const StepMetrics& metrics) {
  return std::isnan(metrics.loss) && !metrics.skipped ? "-" : fmt::format("{:.3f}", metrics.loss);
}

std::string bar(const StepMetrics& metrics, const ProgressSettings& settings, double eta_s) {
  constexpr int64_t kWidth = 30;
  const int64_t filled = kWidth * metrics.step / std::max<int64_t>(settings.last_step, 1);
  return fmt::format("[{:<{}}] {}/{} | loss {} | {} tok/s | eta {}",
                     std::string(static_cast<size_t>(std::clamp<int64_t>(filled, 0, kWidth)), '='), kWidth,
                     metrics.step, settings.last_step, loss_text(metrics), short_count(metrics.tokens_per_s),
                     short_time(eta_s));
}

}  // namespace

std::string progress_line(const StepMetrics& m, const ProgressSettings& settings, double eta_s) {
  std::string line = fmt::format("step {}/{} | loss {}", m.step, settings.last_step, loss_text(m));
  const auto add = [&]<typename... Args>(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(line), format, std::forward<Args>(args)...);
  };
  if (m.grad_norm) add(" | gnorm {:.2f}", *m.grad_norm);
  if (m.skipped) add(" | skipped");
  add(" | lr {} | {:.3f} s | {} tok/s", short_exponent(m.lr), m.time.step_s, short_count(m.tokens_per_s));
  if (m.mfu) add(" | MFU {:.1f}%", 100 * *m.mfu);
  if (settings.num_ranks > 1) line += communication(m.time);
  add(" | mem {} | eta {}", memory_used(m.memory_peak_bytes, settings.memory_limit_bytes), short_time(eta_s));
  return line;
}

void Progress::step(const StepMetrics& metrics) {
  // The first step warms caches up and is no guide to the others.
  const double step_s = metrics.time.step_s;
  const bool first = metrics.step == settings_.first_step;
  const bool few = metrics.step <= settings_.first_step + 1;
  typical_step_s_ = few ? step_s : 0.9 * typical_step_s_ + 0.1 * step_s;
  const double eta_s = typical_step_s_ * static_cast<double>(settings_.last_step - metrics.step);

  if (first || metrics.step == settings_.last_step ||
      metrics.step % std::max<int64_t>(settings_.log_interval, 1) == 0) {
    log_.info(progress_line(metrics, settings_, eta_s));
  }
  if (!log_.shows_status()) return;
  constexpr int64_t kRedrawNs = 100'000'000;
  const int64_t now = now_ns();
  if (now - drawn_ns_ < kRedrawNs && metrics.step != settings_.last_step) return;
  drawn_ns_ = now;
  log_.status(bar(metrics, settings_, eta_s));
}

}  // namespace trine
