// The queues of a device that computes nothing and takes its time: work ends when a model says so, in real time.
// When work ends is plain arithmetic, done as soon as it is known what it waits for. So nobody sleeps for a kernel,
// and how late a thread wakes up changes nothing: only what waits for other ranks has a thread, which goes to meet
// them a little ahead of the clock, and the host sleeps until what it waits for would be there.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "runtime/device/timeline.h"

namespace trine {

class ModelledTimeline final : public Timeline {
 public:
  // `launch_ns`: host time that it takes to enqueue something on the modelled machine. Its host is never faster than
  // that; it is slower only where this one is behind by more than it can make up for (kHostSlackNs).
  explicit ModelledTimeline(int64_t launch_ns);
  // Work that has not begun is dropped.
  ~ModelledTimeline() override;

  Queue add_queue();
  // A kernel or a copy of that length.
  void work(Queue queue, int64_t duration_ns);
  // What ends when others say so: is given when the queue is ready for it, and returns when it ends. It is called
  // not before that time less kAheadNs, and may block. What it throws fails the timeline.
  using Meeting = std::function<int64_t(int64_t ready_ns)>;
  void meet(Queue queue, Meeting meeting);
  // From now on whoever waits for the device gets this error; the first one stays.
  void fail(std::exception_ptr why);
  void throw_if_failed() const;

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

  static constexpr int64_t kAheadNs = 20'000'000;
  static constexpr int64_t kHostSlackNs = 100'000'000;

 private:
  // What a queue has still to do, in order.
  struct Step {
    enum Kind { kWork, kMeet, kMark, kWait } kind = kWork;
    int64_t at_ns = 0;  // not before: when the host launched it
    int64_t value = 0;  // its length, or the mark
    Meeting meeting;
  };
  struct Lane {
    int64_t end_ns = 0;  // of all that is known to end
    std::deque<Step> steps;
    bool meets = false;  // its thread is at the first of them
    std::condition_variable called;
    std::thread thread;  // of a queue that ever meets
  };

  Lane& lane(Queue queue) { return *lanes_.at(static_cast<size_t>(queue.index)); }
  void add(Queue queue, Step step);
  bool carry_out(Lane& lane, const Step& step);
  bool drain(Lane& lane);
  void drain_all();
  void serve(Lane& lane);
  int64_t host_time();
  int64_t launch();
  bool is_reached(Mark mark) const;
  int64_t wait_for(Mark mark);
  bool sleep_until(int64_t time_ns);

  const int64_t launch_ns_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;  // a mark that somebody waits for may be reached, or all has failed
  int num_waiting_ = 0;
  std::vector<int64_t> reached_ns_;  // by mark; 0: not yet
  int64_t num_reached_ = 0;
  Mark first_ = 0;       // the step's first
  int64_t host_ns_ = 0;  // of the modelled host, in its launches
  std::exception_ptr error_;
  bool stop_ = false;
  std::vector<std::unique_ptr<Lane>> lanes_;
};

}  // namespace trine
