#include "comm/clock_bounds.h"

#include <algorithm>

#include "base/error.h"

namespace trine {
namespace {

constexpr int64_t kUnknown = ClockBound::kUnknown;

}  // namespace

ClockTracker::ClockTracker(std::vector<ClockOffset> measured, std::vector<int> clock_of, int64_t now_ns)
    : clock_of_(std::move(clock_of)), offsets_(std::move(measured)), updated_ns_(now_ns) {
  TRINE_CHECK(offsets_.size() == clock_of_.size() && !offsets_.empty(), "{} offsets of {} ranks", offsets_.size(),
              clock_of_.size());
  for (size_t rank = 0; rank < clock_of_.size(); ++rank) {
    if (clock_of_[rank] == static_cast<int>(rank)) ++num_clocks_;
    const ClockOffset& offset = offsets_[rank];
    known_.push_back({offset.offset_ns - offset.error_ns, offset.offset_ns + offset.error_ns});
  }
}

// Bellman and Ford: a clock is ahead of rank 0's by at most the least sum of bounds on a way from rank 0 to it, and
// behind by at most that of a way back.
std::vector<ClockTracker::Interval> ClockTracker::paths(std::span<const ClockBound> bounds) const {
  std::vector<int64_t> ahead(clock_of_.size(), kUnknown), behind(clock_of_.size(), kUnknown);
  const auto rank_0 = static_cast<size_t>(clock_of_[0]);
  ahead[rank_0] = behind[rank_0] = 0;
  const auto shorten = [](int64_t& length, int64_t other, int64_t bound) {
    if (other >= kUnknown || other + bound >= length) return false;
    length = other + bound;
    return true;
  };
  bool changed = true;
  for (int round = 0; changed && round < num_clocks_; ++round) {
    changed = false;
    for (const ClockBound& bound : bounds) {
      const auto from = static_cast<size_t>(clock_of_[static_cast<size_t>(bound.from)]),
                 to = static_cast<size_t>(clock_of_[static_cast<size_t>(bound.to)]);
      if (from == to || !bound.known()) continue;
      changed |= shorten(ahead[to], ahead[from], bound.ahead_ns);
      changed |= shorten(behind[from], behind[to], bound.ahead_ns);
    }
  }
  std::vector<Interval> intervals;
  for (size_t clock = 0; clock < ahead.size(); ++clock) intervals.push_back({-ahead[clock], behind[clock]});
  return intervals;
}

void ClockTracker::update(std::span<const ClockBound> bounds, int64_t now_ns) {
  if (one_clock()) return;
  const int64_t drift_ns = std::max<int64_t>(now_ns - updated_ns_, 0) / 1'000'000 * kMaxDriftPpm + kMaxDriftPpm;
  updated_ns_ = now_ns;
  const std::vector<Interval> now = paths(bounds);
  for (size_t clock = 0; clock < known_.size(); ++clock) {
    Interval& known = known_[clock];
    known = {std::max(known.low_ns - drift_ns, now[clock].low_ns),
             std::min(known.high_ns + drift_ns, now[clock].high_ns)};
    const bool both = now[clock].low_ns > -kUnknown && now[clock].high_ns < kUnknown;
    if (known.low_ns > known.high_ns && both) known = now[clock];
    if (known.low_ns > known.high_ns) std::swap(known.low_ns, known.high_ns);  // half of a contradiction
  }
  set_offsets();
}

void ClockTracker::set_offsets() {
  for (size_t rank = 0; rank < offsets_.size(); ++rank) {
    const Interval& known = known_[static_cast<size_t>(clock_of_[rank])];
    const int64_t error = (known.high_ns - known.low_ns + 1) / 2;
    offsets_[rank] = clock_of_[rank] == clock_of_[0] ? ClockOffset{} : ClockOffset{known.low_ns + error, error};
  }
}

}  // namespace trine
