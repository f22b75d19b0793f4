#include "runtime/device/cuda/cuda_timeline.h"

#include <nvtx3/nvToolsExt.h>

#include "base/clock.h"

namespace trine::cuda {
namespace {
constexpr size_t kLanesEnd = kLanes.size();
constexpr size_t kLooksPerQueue = 64;  // of one progress(): marks are taken meanwhile

using Graph = Owned<cudaGraph_t, cudaGraphDestroy>;
using GraphExec = Owned<cudaGraphExec_t, cudaGraphExecDestroy>;

class CudaRecording final : public Recording {
 public:
  CudaRecording(ContextPtr context, cudaStream_t stream, const Graph& graph)
      : context_(std::move(context)), stream_(stream) {
    cudaGraphExec_t made = nullptr;
    TRINE_CUDA(cudaGraphInstantiate(&made, graph.get(), 0));
    exec_ = GraphExec(made);
    TRINE_CUDA(cudaGraphUpload(exec_.get(), stream_));  // else the first launch does
  }
  ~CudaRecording() override { cudaSetDevice(context_->device); }
  CudaRecording(const CudaRecording&) = delete;
  CudaRecording& operator=(const CudaRecording&) = delete;

  void enqueue() override {
    context_->activate();
    TRINE_CUDA(cudaGraphLaunch(exec_.get(), stream_));
  }

 private:
  const ContextPtr context_;
  const cudaStream_t stream_;
  GraphExec exec_;
};

// The calls of this thread are checked and no other's: the watch over the device goes on meanwhile. An error within a
// capture is not the device's, and later checks must not see it.
Graph capture(cudaStream_t stream, const std::function<void()>& enqueue) {
  TRINE_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  cudaGraph_t graph = nullptr;
  try {
    enqueue();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    const Graph unfinished(graph);
    cudaGetLastError();
    throw;
  }
  const cudaError_t status = cudaStreamEndCapture(stream, &graph);
  Graph owned(graph);
  if (status != cudaSuccess) cudaGetLastError();
  check(status, "cudaStreamEndCapture");
  TRINE_CHECK(graph != nullptr, "a capture without a graph");
  return owned;
}
}  // namespace

CudaTimeline::CudaTimeline(ContextPtr context) : context_(std::move(context)), seen_(kLanesEnd) { begin_step(); }

Queue CudaTimeline::add_queue() {
  context_->activate();
  const std::lock_guard lock(mutex_);
  more_queues_.emplace_back(/*high_priority=*/true);
  seen_.emplace_back();
  return Queue(static_cast<int>(kLanesEnd + more_queues_.size()) - 1);
}

// The caller holds the lock, or no queue is added meanwhile.
cudaStream_t CudaTimeline::stream(Queue queue) const {
  const auto index = static_cast<size_t>(queue.index);
  return index < kLanesEnd ? context_->streams[index].get() : more_queues_.at(index - kLanesEnd).get();
}

// The device is idle, so that the event happens between the two looks at the clock.
void CudaTimeline::begin_step() {
  context_->activate();
  const std::lock_guard lock(mutex_);
  first_ += static_cast<Mark>(num_used_);
  num_used_ = 0;
  for (Seen& seen : seen_) seen.marks.clear(), seen.reached = 0;
  const int64_t before_ns = now_ns();
  base_.record(context_->compute());
  base_.synchronize();
  base_ns_ = before_ns + (now_ns() - before_ns) / 2;
}

Mark CudaTimeline::mark(Queue queue) {
  context_->activate();
  const std::lock_guard lock(mutex_);
  if (num_used_ == events_.size()) events_.emplace_back(/*timed=*/true);
  const Event& event = events_[num_used_++];
  event.record(stream(queue));
  seen_[static_cast<size_t>(queue.index)].marks.push_back(&event);
  return first_ + static_cast<Mark>(num_used_) - 1;
}

const Event& CudaTimeline::event(Mark mark) const {
  const std::lock_guard lock(mutex_);
  TRINE_CHECK(mark >= first_ && mark < first_ + static_cast<Mark>(num_used_),
              "mark {} is not one of this step's {}", mark, num_used_);
  return events_[static_cast<size_t>(mark - first_)];
}

void CudaTimeline::wait(Queue queue, Mark mark) {
  const Event& awaited = event(mark);
  context_->activate();
  const std::lock_guard lock(mutex_);
  awaited.block(stream(queue));
}

void CudaTimeline::synchronize(Mark mark) {
  context_->activate();
  event(mark).synchronize();
}

void CudaTimeline::synchronize_all() {
  context_->activate();
  for (const Stream& stream : context_->streams) stream.synchronize();
  for (const Stream& stream : more_queues_) stream.synchronize();
}

int64_t CudaTimeline::time_ns(Mark mark) const {
  context_->activate();
  return base_ns_ + static_cast<int64_t>(event(mark).seconds_since(base_) * 1e9);
}

// Marks of one queue are reached in their order.
Timeline::Progress CudaTimeline::progress() {
  context_->activate();
  const std::lock_guard lock(mutex_);
  Progress progress;
  for (Seen& seen : seen_) {
    for (size_t i = 0; i < kLooksPerQueue && seen.reached < seen.marks.size(); ++i) {
      if (!seen.marks[seen.reached]->happened()) break;
      ++seen.reached;
    }
    progress.made += static_cast<int64_t>(seen.marks.size());
    progress.reached += static_cast<int64_t>(seen.reached);
  }
  return progress;
}

std::unique_ptr<Recording> CudaTimeline::record(Queue queue, const std::function<void()>& enqueue) {
  context_->activate();
  const cudaStream_t of_queue = stream(queue);
  const Graph graph = capture(of_queue, enqueue);
  return std::make_unique<CudaRecording>(context_, of_queue, graph);
}

void CudaTimeline::push(const char* name) { nvtxRangePushA(name); }
void CudaTimeline::pop() { nvtxRangePop(); }

}  // namespace trine::cuda
