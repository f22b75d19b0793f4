#include "comm/clock_alignment.h"

#include <algorithm>

namespace trine {
namespace {

size_t index_of(Group group) { return group == Group::kPp ? 0 : group == Group::kDp ? 1 : 2; }  // in kAxes

}  // namespace

ClockAlignment::ClockAlignment(CommWorld& world, RankClock clock) : world_(&world), clock_(std::move(clock)) {
  Communicator& all = world[Group::kWorld];
  MeasuredClocks measured = align_clocks(all, clock_);
  own_ = measured.offsets[static_cast<size_t>(all.rank())];
  int64_t begin_ns = now_ns();
  all.broadcast(&begin_ns, 1, DType::kI64, 0);
  ClockTracker tracker(std::move(measured.offsets), std::move(measured.clock_of), begin_ns);
  if (tracker.one_clock()) return;
  tracker_ = std::move(tracker);
  for (size_t axis = 0; axis < kAxes.size(); ++axis)
    ahead_ns_[axis].assign(static_cast<size_t>(world.mesh()[kAxes[axis]]), ClockBound::kUnknown);
}

void ClockAlignment::arrived(Group group, int member, int64_t sent_ns) {
  if (!tracker_) return;
  int64_t& ahead_ns = ahead_ns_[index_of(group)][static_cast<size_t>(member)];
  ahead_ns = std::min(ahead_ns, now_ns() - sent_ns);
}

// Of all ranks, and rank 0's time.
std::vector<ClockBound> ClockAlignment::gather_bounds(int64_t& now_ns) {
  Communicator& all = (*world_)[Group::kWorld];
  const Mesh& mesh = world_->mesh();
  std::vector<int64_t> own{this->now_ns()};
  for (std::vector<int64_t>& of_axis : ahead_ns_) {
    own.insert(own.end(), of_axis.begin(), of_axis.end());
    std::fill(of_axis.begin(), of_axis.end(), ClockBound::kUnknown);
  }
  std::vector<int64_t> gathered(own.size() * static_cast<size_t>(all.size()));
  all.all_gather(own.data(), gathered.data(), all.size(), DType::kI64, static_cast<int64_t>(own.size()));
  now_ns = gathered[0];
  std::vector<ClockBound> bounds;
  const std::vector<int>& clock_of = tracker_->clock_of();
  for (int to = 0; to < all.size(); ++to) {
    const int64_t* ahead_ns = &gathered[static_cast<size_t>(to) * own.size() + 1];
    for (const Axis axis : kAxes)
      for (const int from : mesh.group(mesh.coordinate(to), axis)) {
        const ClockBound bound{from, to, *ahead_ns++};
        if (bound.known() && clock_of[static_cast<size_t>(from)] != clock_of[static_cast<size_t>(to)])
          bounds.push_back(bound);
      }
  }
  return bounds;
}

void ClockAlignment::realign() {
  if (!tracker_) return;
  int64_t now_ns = 0;
  const std::vector<ClockBound> bounds = gather_bounds(now_ns);
  tracker_->update(bounds, now_ns);
  own_ = tracker_->offsets()[static_cast<size_t>((*world_)[Group::kWorld].rank())];
}

}  // namespace trine
