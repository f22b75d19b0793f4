#include "runtime/device/rehearsal/modelled_timeline.h"

#include <algorithm>
#include <sys/prctl.h>

#include "base/clock.h"
#include "base/error.h"

namespace trine {
namespace {

constexpr int64_t kNapNs = 100'000'000;  // between two looks whether all has failed

// The system rounds a sleep up by 50 us unless a thread asks for better.
void want_short_sleeps() {
  thread_local const bool asked = ::prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0) == 0;
  static_cast<void>(asked);
}

}  // namespace

ModelledTimeline::ModelledTimeline(int64_t launch_ns) : launch_ns_(launch_ns), host_ns_(now_ns()) {
  while (lanes_.size() < kLanes.size()) add_queue();
}

ModelledTimeline::~ModelledTimeline() {
  fail(std::make_exception_ptr(CheckError("the device is gone")));
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    for (const auto& lane : lanes_) lane->called.notify_all();
  }
  for (const auto& lane : lanes_)
    if (lane->thread.joinable()) lane->thread.join();
}

Queue ModelledTimeline::add_queue() {
  const std::lock_guard lock(mutex_);
  lanes_.push_back(std::make_unique<Lane>());
  return Queue(static_cast<int>(lanes_.size()) - 1);
}

// When the modelled host is. What this machine's threads are late by, all ranks on few cores, it makes up for.
int64_t ModelledTimeline::host_time() {
  const int64_t now = now_ns();
  if (host_ns_ < now - kHostSlackNs) host_ns_ = now;
  return host_ns_;
}

int64_t ModelledTimeline::launch() { return host_ns_ = host_time() + launch_ns_; }

void ModelledTimeline::work(Queue queue, int64_t duration_ns) {
  const std::lock_guard lock(mutex_);
  add(queue, {.kind = Step::kWork, .at_ns = launch(), .value = duration_ns, .meeting = {}});
}

void ModelledTimeline::meet(Queue queue, Meeting meeting) {
  const std::lock_guard lock(mutex_);
  Lane& own = lane(queue);
  if (!own.thread.joinable()) own.thread = std::thread([this, &own] { serve(own); });
  add(queue, {.kind = Step::kMeet, .at_ns = launch(), .value = 0, .meeting = std::move(meeting)});
}

// What is not behind anything else is done at once.
void ModelledTimeline::add(Queue queue, Step step) {
  Lane& own = lane(queue);
  if (own.steps.empty() && carry_out(own, step)) {
    if (step.kind == Step::kMark) drain_all();
    return;
  }
  const bool is_first = own.steps.empty();
  own.steps.push_back(std::move(step));
  if (is_first && own.steps.front().kind == Step::kMeet) own.called.notify_one();
}

// False: it is not known yet when it ends.
bool ModelledTimeline::carry_out(Lane& lane, const Step& step) {
  switch (step.kind) {
    case Step::kWork:
      lane.end_ns = std::max(lane.end_ns, step.at_ns) + step.value;
      return true;
    case Step::kMeet:
      return false;
    case Step::kMark:
      lane.end_ns = std::max(lane.end_ns, step.at_ns);
      reached_ns_.at(static_cast<size_t>(step.value - first_)) = lane.end_ns;
      ++num_reached_;
      return true;
    case Step::kWait:
      if (!is_reached(step.value)) return false;
      lane.end_ns = std::max(lane.end_ns, reached_ns_[static_cast<size_t>(step.value - first_)]);
      return true;
  }
  return true;
}

// Whether marks were reached, for which others may wait.
bool ModelledTimeline::drain(Lane& lane) {
  const int64_t before = num_reached_;
  while (!lane.meets && !lane.steps.empty() && carry_out(lane, lane.steps.front())) lane.steps.pop_front();
  if (!lane.meets && !lane.steps.empty() && lane.steps.front().kind == Step::kMeet) lane.called.notify_one();
  return num_reached_ != before;
}

void ModelledTimeline::drain_all() {
  for (bool moved = true; moved;) {
    moved = false;
    for (const auto& lane : lanes_)
      if (!lane->steps.empty()) moved |= drain(*lane);
  }
  if (num_waiting_ > 0) changed_.notify_all();
}

// Goes to one meeting of a queue after another.
void ModelledTimeline::serve(Lane& lane) {
  want_short_sleeps();
  std::unique_lock lock(mutex_);
  while (true) {
    lane.called.wait(
        lock, [&] { return stop_ || error_ || (!lane.steps.empty() && lane.steps.front().kind == Step::kMeet); });
    if (stop_ || error_) return;
    Step step = std::move(lane.steps.front());
    const int64_t ready_ns = std::max(lane.end_ns, step.at_ns);
    lane.meets = true;
    lock.unlock();
    int64_t end_ns = ready_ns;
    try {
      // Far ahead of the clock it waits for longer, so that one rest is for several meetings.
      if (ready_ns - now_ns() > kAheadNs && !sleep_until(ready_ns - kAheadNs / 2)) return;
      end_ns = std::max(end_ns, step.meeting(ready_ns));
    } catch (...) {
      fail(std::current_exception());
      return;
    }
    lock.lock();
    lane.meets = false;
    lane.steps.pop_front();
    lane.end_ns = end_ns;
    if (drain(lane)) drain_all();
  }
}

// False: all has failed meanwhile.
bool ModelledTimeline::sleep_until(int64_t time_ns) {
  want_short_sleeps();
  for (int64_t now = now_ns(); now < time_ns; now = now_ns()) {
    {
      const std::lock_guard lock(mutex_);
      if (error_) return false;
    }
    trine::sleep_until(std::min(time_ns, now + kNapNs));
  }
  return true;
}

void ModelledTimeline::fail(std::exception_ptr why) {
  const std::lock_guard lock(mutex_);
  if (!error_) error_ = std::move(why);
  changed_.notify_all();
  for (const auto& lane : lanes_) lane->called.notify_all();
}

void ModelledTimeline::throw_if_failed() const {
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);
}

void ModelledTimeline::begin_step() {
  const std::lock_guard lock(mutex_);
  const auto made = static_cast<int64_t>(reached_ns_.size());
  TRINE_CHECK(error_ || num_reached_ == made, "{} of {} marks were reached", num_reached_, made);
  first_ += made;
  reached_ns_.clear();
  num_reached_ = 0;
  host_ns_ = std::max(host_ns_, now_ns());
}

Mark ModelledTimeline::mark(Queue queue) {
  const std::lock_guard lock(mutex_);
  const Mark mark = first_ + static_cast<Mark>(reached_ns_.size());
  reached_ns_.push_back(0);
  add(queue, {.kind = Step::kMark, .at_ns = host_time(), .value = mark, .meeting = {}});
  return mark;
}

bool ModelledTimeline::is_reached(Mark mark) const {
  TRINE_CHECK(mark >= first_, "mark {} is of an earlier step", mark);
  return reached_ns_.at(static_cast<size_t>(mark - first_)) != 0;
}

void ModelledTimeline::wait(Queue queue, Mark mark) {
  const std::lock_guard lock(mutex_);
  add(queue, {.kind = Step::kWait, .at_ns = 0, .value = mark, .meeting = {}});
}

// When it is, which may be later than now.
int64_t ModelledTimeline::wait_for(Mark mark) {
  std::unique_lock lock(mutex_);
  ++num_waiting_;
  changed_.wait(lock, [&] { return error_ != nullptr || is_reached(mark); });
  --num_waiting_;
  if (error_) std::rethrow_exception(error_);
  return reached_ns_[static_cast<size_t>(mark - first_)];
}

void ModelledTimeline::synchronize(Mark mark) {
  const int64_t time_ns = wait_for(mark);
  if (!sleep_until(time_ns)) throw_if_failed();
  const std::lock_guard lock(mutex_);
  host_ns_ = std::max(host_ns_, time_ns);
}

void ModelledTimeline::synchronize_all() {
  size_t count = 0;
  {
    const std::lock_guard lock(mutex_);
    count = lanes_.size();
  }
  std::vector<Mark> last;
  for (size_t i = 0; i < count; ++i) last.push_back(mark(Queue(static_cast<int>(i))));
  for (const Mark mark : last) synchronize(mark);
}

int64_t ModelledTimeline::time_ns(Mark mark) const {
  const std::lock_guard lock(mutex_);
  TRINE_CHECK(is_reached(mark), "mark {} is not reached", mark);
  return reached_ns_[static_cast<size_t>(mark - first_)];
}

Timeline::Progress ModelledTimeline::progress() {
  const std::lock_guard lock(mutex_);
  return {.made = static_cast<int64_t>(reached_ns_.size()), .reached = num_reached_};
}

}  // namespace trine
