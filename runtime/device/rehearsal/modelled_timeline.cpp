#include "runtime/device/rehearsal/modelled_timeline.h"

#include <algorithm>
#include <ctime>
#include <fmt/core.h>
#include <sys/prctl.h>

#include "base/clock.h"
#include "base/error.h"

namespace trine {
namespace {

// A queue may be ahead of the clock by this much: else each of thousands of short kernels would wake a thread.
constexpr int64_t kAheadNs = 100'000;
constexpr int64_t kNapNs = 100'000'000;  // between two looks whether all has failed

}  // namespace

ModelledTimeline::ModelledTimeline(int64_t launch_ns) : launch_ns_(launch_ns) {
  while (workers_.size() < kLanes.size()) add_queue();
}

ModelledTimeline::~ModelledTimeline() {
  fail(std::make_exception_ptr(CheckError("the device is gone")));
  for (const auto& worker : workers_) worker->thread.reset();
}

Queue ModelledTimeline::add_queue() {
  const std::lock_guard lock(mutex_);
  const int number = static_cast<int>(workers_.size());
  workers_.push_back(std::make_unique<Worker>());
  workers_.back()->thread = std::make_unique<LaneThread>(fmt::format("queue {}", number));
  workers_.back()->thread->enqueue([] { ::prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); });
  return Queue(number);
}

ModelledTimeline::Worker& ModelledTimeline::worker(Queue queue) const {
  const std::lock_guard lock(mutex_);
  return *workers_.at(static_cast<size_t>(queue.index));
}

void ModelledTimeline::enqueue(Queue queue, std::function<void(Worker&)> work) {
  Worker& worker = this->worker(queue);
  worker.thread->enqueue([this, &worker, work = std::move(work)] {
    try {
      work(worker);
    } catch (...) {
      fail(std::current_exception());
    }
  });
}

// When the modelled host has enqueued what it enqueues now.
int64_t ModelledTimeline::launch() {
  const std::lock_guard lock(mutex_);
  host_ns_ = std::max(now_ns(), host_ns_ + launch_ns_);
  return host_ns_;
}

void ModelledTimeline::work(Queue queue, int64_t duration_ns) {
  enqueue(queue, [this, duration_ns, launched_ns = launch()](Worker& worker) {
    throw_if_failed();
    worker.end_ns = std::max(worker.end_ns, launched_ns) + duration_ns;
    if (worker.end_ns > now_ns() + kAheadNs) sleep_until(worker.end_ns);
  });
}

void ModelledTimeline::meet(Queue queue, Meeting meeting) {
  enqueue(queue, [this, meeting = std::move(meeting), launched_ns = launch()](Worker& worker) {
    throw_if_failed();
    worker.end_ns = std::max(worker.end_ns, launched_ns);
    sleep_until(worker.end_ns);
    worker.end_ns = std::max(worker.end_ns, meeting(worker.end_ns));
  });
}

void ModelledTimeline::sleep_until(int64_t time_ns) const {
  for (int64_t now = now_ns(); now < time_ns; now = now_ns()) {
    throw_if_failed();
    trine::sleep_until(std::min(time_ns, now + kNapNs));
  }
}

void ModelledTimeline::fail(std::exception_ptr why) {
  const std::lock_guard lock(mutex_);
  if (!error_) error_ = std::move(why);
  changed_.notify_all();
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
}

Mark ModelledTimeline::mark(Queue queue) {
  Mark mark = 0;
  int64_t now = 0;
  {
    const std::lock_guard lock(mutex_);
    mark = first_ + static_cast<Mark>(reached_ns_.size());
    reached_ns_.push_back(0);
    now = std::max(now_ns(), host_ns_);
  }
  enqueue(queue, [this, mark, now](Worker& worker) {
    worker.end_ns = std::max(worker.end_ns, now);
    reach(mark, worker.end_ns);
  });
  return mark;
}

void ModelledTimeline::reach(Mark mark, int64_t time_ns) {
  const std::lock_guard lock(mutex_);
  reached_ns_.at(static_cast<size_t>(mark - first_)) = time_ns;
  ++num_reached_;
  changed_.notify_all();
}

// When it is, or will be in at most kAheadNs.
int64_t ModelledTimeline::wait_for(Mark mark) const {
  std::unique_lock lock(mutex_);
  TRINE_CHECK(mark >= first_, "mark {} is of an earlier step", mark);
  const auto index = static_cast<size_t>(mark - first_);
  changed_.wait(lock, [&] { return error_ != nullptr || reached_ns_.at(index) != 0; });
  if (error_) std::rethrow_exception(error_);
  return reached_ns_[index];
}

void ModelledTimeline::wait(Queue queue, Mark mark) {
  enqueue(queue, [this, mark](Worker& worker) { worker.end_ns = std::max(worker.end_ns, wait_for(mark)); });
}

void ModelledTimeline::synchronize(Mark mark) { sleep_until(wait_for(mark)); }

void ModelledTimeline::synchronize_all() {
  std::vector<Mark> last;
  size_t count = 0;
  {
    const std::lock_guard lock(mutex_);
    count = workers_.size();
  }
  for (size_t i = 0; i < count; ++i) last.push_back(mark(Queue(static_cast<int>(i))));
  for (const Mark mark : last) synchronize(mark);
}

int64_t ModelledTimeline::time_ns(Mark mark) const {
  const std::lock_guard lock(mutex_);
  const int64_t time = reached_ns_.at(static_cast<size_t>(mark - first_));
  TRINE_CHECK(time != 0, "mark {} is not reached", mark);
  return time;
}

Timeline::Progress ModelledTimeline::progress() {
  const std::lock_guard lock(mutex_);
  return {.made = static_cast<int64_t>(reached_ns_.size()), .reached = num_reached_};
}

}  // namespace trine
