// Streams as queues, events as marks.
#pragma once

#include <deque>
#include <mutex>
#include <vector>

#include "kernels/cuda/context.h"
#include "runtime/device/timeline.h"

namespace trine::cuda {

// Every call activates the device first: a thread that has not chosen one calls CUDA on the first device of the
// machine, where that would make a second context.
class CudaTimeline final : public Timeline {
 public:
  explicit CudaTimeline(ContextPtr context);

  Queue add_queue();
  cudaStream_t stream(Queue queue) const;

  bool asynchronous() const override { return true; }
  void begin_step() override;
  Mark mark(Queue queue) override;
  void wait(Queue queue, Mark mark) override;
  void synchronize(Mark mark) override;
  void synchronize_all() override;
  int64_t time_ns(Mark mark) const override;
  Progress progress() override;
  bool records() const override { return true; }
  std::unique_ptr<Recording> record(Queue queue, const std::function<void()>& enqueue) override;
  void push(const char* name) override;
  void pop() override;

 private:
  // What progress() has seen of a queue: the first `reached` of its marks.
  struct Seen {
    std::vector<const Event*> marks;
    size_t reached = 0;
  };

  const Event& event(Mark mark) const;

  const ContextPtr context_;
  mutable std::mutex mutex_;
  std::vector<Stream> more_queues_;
  std::deque<Event> events_;  // used again in every step; they stay where they are
  size_t num_used_ = 0;
  Mark first_ = 0;  // of this step
  std::vector<Seen> seen_;
  Event base_{/*timed=*/true};  // recorded at base_ns_ on the host's clock
  int64_t base_ns_ = 0;
};

}  // namespace trine::cuda
