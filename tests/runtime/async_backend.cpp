#include "tests/runtime/async_backend.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>

#include "base/clock.h"
#include "base/error.h"
#include "comm/lane_thread.h"
#include "comm/pipeline_lane.h"

namespace trine {
namespace {

using Work = std::function<void()>;

// A thread that is late now and then.
class Worker {
 public:
  explicit Worker(int number)
      : random_(static_cast<uint32_t>(number) + 1), thread_("queue " + std::to_string(number)) {}

  // From now on, work is put there instead; nullptr: no more.
  void record_in(std::vector<Work>* recorded) { recorded_ = recorded; }
  bool records() const { return recorded_ != nullptr; }

  LaneThread::Ticket enqueue(Work work) {
    if (recorded_) {
      recorded_->push_back(std::move(work));
      return 0;
    }
    return thread_.enqueue([this, work = std::move(work)] {
      random_ = random_ * 1664525u + 1013904223u;  // Numerical Recipes
      if (random_ >> 29 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random_ >> 8 & 255));
      work();
    });
  }
  void run(Work work) {
    TRINE_CHECK(!recorded_, "a queue that records is waited for");
    thread_.wait(enqueue(std::move(work)));
  }

 private:
  uint32_t random_;
  std::vector<Work>* recorded_ = nullptr;
  LaneThread thread_;
};

class AsyncRecording final : public Recording {
 public:
  AsyncRecording(Worker& worker, std::vector<Work> work, AsyncSeen* seen)
      : worker_(worker), work_(std::make_shared<std::vector<Work>>(std::move(work))), seen_(seen) {}
  void enqueue() override {
    if (seen_) ++seen_->replays;
    worker_.enqueue([work = work_] {
      for (const Work& one : *work) one();
    });
  }

 private:
  Worker& worker_;
  const std::shared_ptr<std::vector<Work>> work_;
  AsyncSeen* const seen_;
};

class Point {
 public:
  void reach() {
    const std::lock_guard lock(mutex_);
    time_ns_ = now_ns();
    changed_.notify_all();
  }
  int64_t wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return time_ns_ != 0; });
    return time_ns_;
  }
  int64_t time_ns() {  // 0: not reached
    const std::lock_guard lock(mutex_);
    return time_ns_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t time_ns_ = 0;
};

class AsyncTimeline final : public Timeline {
 public:
  explicit AsyncTimeline(const AsyncOptions& options) : options_(options) {
    while (workers_.size() < kLanes.size()) add_queue();
  }

  Queue add_queue() {
    const std::lock_guard lock(mutex_);
    const int number = static_cast<int>(workers_.size());
    workers_.push_back(std::make_unique<Worker>(number));
    return Queue(number);
  }
  Worker& worker(Queue queue) const {
    const std::lock_guard lock(mutex_);
    return *workers_.at(static_cast<size_t>(queue.index));
  }

  bool asynchronous() const override { return true; }
  void begin_step() override {
    const Progress now = progress();
    TRINE_CHECK(now.made == now.reached, "{} of {} marks were reached", now.reached, now.made);
    const std::lock_guard lock(mutex_);
    first_ += static_cast<Mark>(points_.size());
    points_.clear();
  }
  Mark mark(Queue queue) override {
    TRINE_CHECK(!worker(queue).records(), "a mark in a queue that records");
    const auto point = std::make_shared<Point>();
    worker(queue).enqueue([point] { point->reach(); });
    const std::lock_guard lock(mutex_);
    points_.push_back(point);
    return first_ + static_cast<Mark>(points_.size()) - 1;
  }
  void wait(Queue queue, Mark mark) override {
    TRINE_CHECK(!worker(queue).records(), "a wait in a queue that records");
    worker(queue).enqueue([point = this->point(mark)] { point->wait(); });
  }
  void synchronize(Mark mark) override { point(mark)->wait(); }
  void synchronize_all() override {
    std::vector<Worker*> all;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& worker : workers_) all.push_back(worker.get());
    }
    for (Worker* worker : all) worker->run([] {});
  }
  int64_t time_ns(Mark mark) const override {
    const int64_t time = point(mark)->time_ns();
    TRINE_CHECK(time != 0, "mark {} is not reached", mark);
    return time;
  }
  Progress progress() override {
    const std::lock_guard lock(mutex_);
    Progress progress{.made = static_cast<int64_t>(points_.size())};
    for (const auto& point : points_) progress.reached += point->time_ns() != 0;
    return progress;
  }
  bool records() const override { return options_.records; }
  std::unique_ptr<Recording> record(Queue queue, const std::function<void()>& enqueue) override {
    std::vector<Work> work;
    worker(queue).record_in(&work);
    try {
      enqueue();
    } catch (...) {
      worker(queue).record_in(nullptr);
      throw;
    }
    worker(queue).record_in(nullptr);
    if (num_recordings_++ == options_.refuses_after) throw Error(ExitCode::kOther, "it has enough");
    if (options_.seen) options_.seen->kernels_recorded += static_cast<int>(work.size());
    return std::make_unique<AsyncRecording>(worker(queue), std::move(work), options_.seen);
  }
  void push(const char*) override {}
  void pop() override {}

 private:
  std::shared_ptr<Point> point(Mark mark) const {
    const std::lock_guard lock(mutex_);
    TRINE_CHECK(mark >= first_, "mark {} is of an earlier step", mark);
    return points_.at(static_cast<size_t>(mark - first_));
  }

  const AsyncOptions options_;
  int num_recordings_ = 0;
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Point>> points_;
  Mark first_ = 0;  // the step's first
  std::deque<std::unique_ptr<Worker>> workers_;
};

class AsyncBackend final : public Backend {
 public:
  AsyncBackend(int threads, AsyncOptions options)
      : cpu_(make_cpu_backend(threads)), options_(options), timeline_(options) {
    for (const std::string& op : cpu_->kernels().ops())
      kernels_.add(op, [this](const KernelRequest& request) { return enqueued(request); });
  }

  DeviceKind device() const override { return cpu_->device(); }
  std::string describe() const override { return "asynchronous " + cpu_->describe(); }
  const KernelTable& kernels() const override { return kernels_; }
  Timeline& timeline() override { return timeline_; }
  std::unique_ptr<DeviceMemory> allocate(int64_t bytes) override { return cpu_->allocate(bytes); }
  std::unique_ptr<DeviceMemory> allocate_host(int64_t bytes) override {
    auto memory = cpu_->allocate(bytes);
    const std::lock_guard lock(mutex_);
    host_memory_.push_back({memory->data(), static_cast<size_t>(bytes)});
    return memory;
  }
  void read(const std::byte* device, std::span<std::byte> host) const override {
    compute().run([&] { cpu_->read(device, host); });
  }
  void write(std::span<const std::byte> host, std::byte* device) const override {
    compute().run([&] { cpu_->write(host, device); });
  }
  void fill(std::span<std::byte> device, std::byte value) const override {
    compute().run([&] { cpu_->fill(device, value); });
  }
  int64_t count_non_finite(const TensorView& view) const override {
    int64_t count = 0;
    compute().run([&] { count = cpu_->count_non_finite(view); });
    return count;
  }
  void copy(Queue queue, const std::byte* from, std::byte* to, int64_t bytes) override {
    if (options_.seen) ++options_.seen->copies;
    timeline_.worker(queue).enqueue([=] { std::memcpy(to, from, static_cast<size_t>(bytes)); });
  }
  Queue add_queue() override { return timeline_.add_queue(); }
  void* native(Queue queue) const override { return &timeline_.worker(queue); }
  std::optional<DeviceRoom> room() const override { return std::nullopt; }
  std::string identity() const override { return {}; }
  bool begin_trials() override { return trying_ = options_.tries; }
  std::string end_trials() override {
    trying_ = false;
    return "tried";
  }

 private:
  Worker& compute() const { return timeline_.worker(Lane::kCompute); }

  // What passes through the host waits for its queue, all else only joins it.
  Kernel enqueued(const KernelRequest& request) {
    const bool staged = request.group != nullptr && request.device_group == nullptr;
    return [&worker = timeline_.worker(request.lane), staged, kernel = cpu_->kernels().make(request),
            loaded = !options_.loads_late, this](const KernelCall& call) mutable {
      if (options_.seen && !worker.records()) ++options_.seen->kernels_enqueued;
      if (trying_ && options_.seen) ++options_.seen->kernels_tried;
      if (!loaded) timeline_.synchronize_all();
      loaded = true;
      if (call.host)
        TRINE_CHECK(reachable(call.host) && reachable(call.host->ids.data()) && reachable(call.host->labels.data()),
                    "a kernel is given host memory that a device cannot read");
      worker.enqueue([kernel, own = call, inputs = std::vector(call.inputs.begin(), call.inputs.end()),
                      outputs = std::vector(call.outputs.begin(), call.outputs.end())]() mutable {
        own.inputs = inputs, own.outputs = outputs;
        kernel(own);
      });
      if (staged) worker.run([] {});
    };
  }

  bool reachable(const void* address) const {
    const auto* const byte = static_cast<const std::byte*>(address);
    const std::lock_guard lock(mutex_);
    return std::any_of(host_memory_.begin(), host_memory_.end(), [&](std::span<const std::byte> memory) {
      return byte >= memory.data() && byte < memory.data() + memory.size();
    });
  }

  std::unique_ptr<Backend> cpu_;
  const AsyncOptions options_;
  bool trying_ = false;
  KernelTable kernels_;
  mutable std::mutex mutex_;
  std::vector<std::span<const std::byte>> host_memory_;
  AsyncTimeline timeline_;  // last: its threads use the rest
};

// The kernels of this device are the CPU's, which know the host's groups: here nothing is called.
class NoGroup final : public DeviceGroup {
 public:
  void all_reduce(void*, int64_t, DType, ReduceOp, void*) override { refuse(); }
  void reduce_scatter(const void*, void*, int64_t, DType, int64_t, void*) override { refuse(); }
  void all_gather(const void*, void*, int64_t, DType, int64_t, void*) override { refuse(); }
  void send(const void*, int64_t, DType, int, void*) override { refuse(); }
  void receive(void*, int64_t, DType, int, void*) override { refuse(); }

 private:
  [[noreturn]] static void refuse() {
    TRINE_CHECK(false, "only an identity");
    std::abort();
  }
};

class AsyncWorld final : public DeviceWorld {
 public:
  explicit AsyncWorld(CommWorld& world) : lane_("devices", world[Group::kPipeline]) {}
  DeviceGroup& operator[](Axis) override { return group_; }
  void send(PipelineEdge edge, const void* data, int64_t bytes, void* queue) override {
    static_cast<Worker*>(queue)->enqueue(
        [=, this] { lane_.wait(lane_.send(data, bytes, edge.peer, edge.backward ? 1 : 0)); });
  }
  void receive(PipelineEdge edge, void* data, int64_t bytes, void* queue) override {
    static_cast<Worker*>(queue)->enqueue(
        [=, this] { lane_.wait(lane_.receive(data, bytes, edge.peer, edge.backward ? 1 : 0)); });
  }
  void check() override {}
  void abort(std::exception_ptr) override {}

 private:
  NoGroup group_;
  PipelineLane lane_;
};

}  // namespace

std::unique_ptr<Backend> make_async_backend(int threads, AsyncOptions options) {
  return std::make_unique<AsyncBackend>(threads, options);
}

std::unique_ptr<DeviceWorld> make_async_world(CommWorld& world) { return std::make_unique<AsyncWorld>(world); }

}  // namespace trine
