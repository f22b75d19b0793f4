// The order of work in a device's queues, and when it was done. Where kernels only enqueue, the host says what
// comes after what and goes on; what the host must know it waits for.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/error.h"
#include "base/trace_event.h"
#include "runtime/device/recording.h"

namespace trine {

// A queue in which a device works off one thing after another, beside its other queues. Each lane has one.
struct Queue {
  int index = 0;
  constexpr Queue(Lane lane) : index(static_cast<int>(lane)) {}  // implicit: a lane names its queue
  explicit constexpr Queue(int number) : index(number) {}
};

// A point in a queue, reached when all that was enqueued before it is done. Valid until the next begin_step().
using Mark = int64_t;

// Any thread may call anything but begin_step(), for which all work must be done.
class Timeline {
 public:
  virtual ~Timeline() = default;
  // False: kernels and copies return when they are done, and a mark is the time at which it was made.
  virtual bool asynchronous() const = 0;
  virtual void begin_step() = 0;  // forgets all marks
  virtual Mark mark(Queue queue) = 0;
  // What is enqueued from now on comes after `mark`.
  virtual void wait(Queue queue, Mark mark) = 0;
  // Blocks the host until it is reached.
  virtual void synchronize(Mark mark) = 0;
  virtual void synchronize_all() = 0;
  // When it was reached, on the host's monotonic clock. REQUIRES: it was.
  virtual int64_t time_ns(Mark mark) const = 0;

  // Of this step's marks: how many were made, and how many are known to be reached (for who
  // watches whether work goes on).
  struct Progress {
    int64_t made = 0, reached = 0;
    bool operator==(const Progress&) const = default;
  };
  virtual Progress progress() = 0;

  // Whether record() can be asked.
  virtual bool records() const { return false; }
  // Records what `enqueue` enqueues in `queue` instead of running it. REQUIRES: it enqueues nothing elsewhere, marks
  // nothing, waits for nothing and takes no memory. What it computes on the host is computed now, once. Nothing else
  // is enqueued in that queue meanwhile. An Error where the device refuses: then nothing was recorded or run, and the
  // queue is as it was.
  virtual std::unique_ptr<Recording> record(Queue queue, const std::function<void()>& enqueue);

  // Names what the calling thread enqueues until pop(), for profilers. REQUIRES: `name` ends with a zero.
  virtual void push(const char* name) = 0;
  virtual void pop() = 0;
};

inline std::unique_ptr<Recording> Timeline::record(Queue, const std::function<void()>&) {
  TRINE_CHECK(false, "this device records nothing");
  return nullptr;
}

}  // namespace trine
