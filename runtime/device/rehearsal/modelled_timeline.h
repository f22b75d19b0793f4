// The queues of a device that computes nothing and takes its time: work ends when a model says so, in real time.
// Each queue has a thread. The end of a queue's work is known exactly and does not depend on when its thread wakes
// up, so lateness does not add up; a thread sleeps only while its queue is ahead of the clock.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "comm/lane_thread.h"
#include "runtime/device/timeline.h"

namespace trine {

class ModelledTimeline final : public Timeline {
 public:
  // `launch_ns`: host time that it takes to enqueue a kernel on the modelled machine. Its host is never faster than
  // that, and not slower unless this one is.
  explicit ModelledTimeline(int64_t launch_ns);
  // Work that has not begun is dropped.
  ~ModelledTimeline() override;

  Queue add_queue();
  // A kernel or a copy of that length.
  void work(Queue queue, int64_t duration_ns);
  // What ends when others say so: given when the queue is ready for it, which is now, returns when it ends. It may
  // block. What it throws fails the timeline.
  using Meeting = std::function<int64_t(int64_t ready_ns)>;
  void meet(Queue queue, Meeting meeting);
  // From now on whoever waits for the device gets this error; the first one stays.
  void fail(std::exception_ptr why);

  bool asynchronous() const override { return true; }
  void begin_step() override;
  Mark mark(Queue queue) override;
  void wait(Queue queue, Mark mark) override;
  void synchronize(Mark mark) override;
  void synchronize_all() override;
  int64_t time_ns(Mark mark) const override;
  Progress progress() override;
  void push(const char*) override {}
  void pop() override {}

 private:
  struct Worker {
    int64_t end_ns = 0;  // of all its work so far; only its thread knows it
    std::unique_ptr<LaneThread> thread;
  };

  Worker& worker(Queue queue) const;
  void enqueue(Queue queue, std::function<void(Worker&)> work);
  int64_t launch();
  void sleep_until(int64_t time_ns) const;
  void reach(Mark mark, int64_t time_ns);
  int64_t wait_for(Mark mark) const;
  void throw_if_failed() const;

  const int64_t launch_ns_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<int64_t> reached_ns_;  // by mark; 0: not yet
  int64_t num_reached_ = 0;
  Mark first_ = 0;       // the step's first
  int64_t host_ns_ = 0;  // of the modelled host, in its launches
  std::exception_ptr error_;
  std::deque<std::unique_ptr<Worker>> workers_;  // last: their threads use the rest
};

}  // namespace trine
