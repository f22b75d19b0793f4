// Work of a queue that was recorded once, and is enqueued again as a whole: what it costs the host does not grow with
// the number of kernels.
#pragma once

namespace trine {

class Recording {
 public:
  virtual ~Recording() = default;
  // The same kernels and copies, with the same addresses and numbers, behind what the queue has.
  virtual void enqueue() = 0;
};

}  // namespace trine
