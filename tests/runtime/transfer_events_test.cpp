// A node's time is its own: what the compute lane does for messages, and waits for, counts as communication. On
// clocks that jump when a message is posted or waited for, so that the load of the machine does not matter.
#include <atomic>
#include <gtest/gtest.h>
#include <set>

#include "comm/local/local_ranks.h"
#include "runtime/step/executor.h"
#include "tests/runtime/local_training.h"
#include "trace/accounting.h"

namespace trine {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kHour = 3'600'000'000'000, kPost = kHour, kWait = 1000 * kHour;

// A rank's clock: the true one, and the jumps.
using Jumps = std::atomic<int64_t>;

class JumpingTimeline final : public Timeline {
 public:
  JumpingTimeline(Timeline& real, const Jumps& jumps) : real_(real), jumps_(jumps) {}
  bool asynchronous() const override { return false; }
  void begin_step() override { real_.begin_step(); }
  Mark mark(Queue queue) override { return real_.mark(queue) + jumps_; }
  void wait(Queue, Mark) override {}
  void synchronize(Mark) override {}
  void synchronize_all() override {}
  int64_t time_ns(Mark mark) const override { return mark; }
  Progress progress() override { return {}; }
  void push(const char*) override {}
  void pop() override {}

 private:
  Timeline& real_;
  const Jumps& jumps_;
};

// The CPU on another clock.
class JumpingBackend final : public Backend {
 public:
  explicit JumpingBackend(const Jumps& jumps) : timeline_(cpu_->timeline(), jumps) {}
  DeviceKind device() const override { return cpu_->device(); }
  std::string describe() const override { return cpu_->describe(); }
  const KernelTable& kernels() const override { return cpu_->kernels(); }
  Timeline& timeline() override { return timeline_; }
  std::unique_ptr<DeviceMemory> allocate(int64_t bytes) override { return cpu_->allocate(bytes); }
  std::unique_ptr<DeviceMemory> allocate_host(int64_t bytes) override { return cpu_->allocate_host(bytes); }
  void read(const std::byte* device, std::span<std::byte> host) const override { cpu_->read(device, host); }
  void write(std::span<const std::byte> host, std::byte* device) const override { cpu_->write(host, device); }
  void fill(std::span<std::byte> device, std::byte value) const override { cpu_->fill(device, value); }
  int64_t count_non_finite(const TensorView& view) const override { return cpu_->count_non_finite(view); }
  void copy(Queue queue, const std::byte* from, std::byte* to, int64_t bytes) override {
    cpu_->copy(queue, from, to, bytes);
  }
  Queue add_queue() override { return cpu_->add_queue(); }
  void* native(Queue queue) const override { return cpu_->native(queue); }
  std::optional<DeviceRoom> room() const override { return cpu_->room(); }
  std::string identity() const override { return cpu_->identity(); }

 private:
  std::unique_ptr<Backend> cpu_ = make_cpu_backend(1);
  JumpingTimeline timeline_;
};

// A send that is complete only when it is waited for, and that costs a jump.
class SlowSend final : public Message {
 public:
  SlowSend(std::unique_ptr<Message> message, Jumps& jumps) : message_(std::move(message)), jumps_(jumps) {}
  bool test() override { return false; }
  bool wait(Deadline deadline) override {
    jumps_ += kWait;
    return message_->wait(deadline);
  }

 private:
  std::unique_ptr<Message> message_;
  Jumps& jumps_;
};

class SlowTransport final : public Transport {
 public:
  SlowTransport(std::unique_ptr<Transport> transport, Jumps& jumps)
      : transport_(std::move(transport)), jumps_(jumps) {}
  std::unique_ptr<Message> send(const void* data, size_t bytes, int peer, int tag) override {
    jumps_ += kPost;
    return std::make_unique<SlowSend>(transport_->send(data, bytes, peer, tag), jumps_);
  }
  std::unique_ptr<Message> receive(void* data, size_t bytes, int peer, int tag) override {
    jumps_ += kPost;
    return transport_->receive(data, bytes, peer, tag);
  }

 private:
  std::unique_ptr<Transport> transport_;
  Jumps& jumps_;
};

// The pipeline's messages are slow, those of all other groups are not.
class SlowPipeline final : public Fabric {
 public:
  SlowPipeline(Fabric& fabric, Jumps& jumps) : fabric_(fabric), jumps_(jumps) {}
  int rank() const override { return fabric_.rank(); }
  int num_ranks() const override { return fabric_.num_ranks(); }
  std::unique_ptr<Transport> connect(const std::vector<int>& ranks) override {
    const Group group = kGroups.at(num_groups_++);
    std::unique_ptr<Transport> transport = fabric_.connect(ranks);
    if (group != Group::kPipeline) return transport;
    return std::make_unique<SlowTransport>(std::move(transport), jumps_);
  }
  void give_up(std::exception_ptr why) override { fabric_.give_up(why); }

 private:
  Fabric& fabric_;
  Jumps& jumps_;
  size_t num_groups_ = 0;
};

constexpr const char* kModel =
    "--layers 4 --hidden 16 --heads 4 --kv-heads 4 --head-dim 4 --ffn 22 --vocab 67 --seq 7 "
    "--threads 1 --dtype f32 ";

// One step of each rank: f(rank's coordinate, stage, events, begin and end of the step).
template <typename F>
void run_step(const Config& config, F&& f) {
  const Plan plan = build_plan(config);
  const Batch batch = random_batches(config)(0);
  run_local_ranks(config.mesh.num_ranks(), [&](Fabric& fabric) {
    Jumps jumps = 0;
    JumpingBackend backend(jumps);
    SlowPipeline slow(fabric, jumps);
    CommWorld world(slow, config.mesh, 60s);
    CommLanes lanes(world);
    TraceRecorder trace(1 << 12);
    const StagePlan& stage = plan.stages[static_cast<size_t>(world.coordinate().pp)];
    Executor executor(stage, config, world.coordinate(), backend, trace, &lanes);
    set_parameters(executor, initial_values(stage.graph, 5), 1);
    const int64_t begin = backend.timeline().mark(Lane::kCompute);
    executor.train_step({.ids = batch.ids, .labels = batch.labels, .lr = 1e-3f, .loss_scale = 1}, 1);
    f(stage, trace.step(1), begin, backend.timeline().mark(Lane::kCompute));
  });
}

TEST(TransferEvents, PostingAndWaitingForASlotAreNoNodesTime) {
  const Config config = config_of(2, std::string(kModel) + "--pp 2 --micro-batch 1 --global-batch 8");
  run_step(config, [](const StagePlan&, const std::vector<TraceEvent>& events, int64_t begin, int64_t end) {
    const StepBreakdown time = account(events, begin, end);
    const double hour = 3600;
    for (EventKind kind : {EventKind::kCompute, EventKind::kRecompute, EventKind::kOptimizer, EventKind::kData})
      EXPECT_LT(time[kind], hour / 2) << name(kind);
    // 8 messages are sent and 8 received; what waits for a slot is sent later than all that find one.
    const double posts_s = 16 * hour, wait_s = 1000 * hour;
    const int waits = static_cast<int>((time[EventKind::kCommPp] - posts_s) / wait_s + 0.5);
    EXPECT_GE(waits, 1);
    EXPECT_LT(waits, 8);
    EXPECT_NEAR(time[EventKind::kCommPp], posts_s + waits * wait_s, hour / 2);
  });
}

// No node is under way when a collective is handed to its lane, where the collective's time begins unless the lane
// is busy with another one. What overlaps it begins later.
TEST(TransferEvents, HandingOverACollectiveIsNoNodesTime) {
  const Config config = config_of(2, std::string(kModel) + "--tp 2 --sp off --micro-batch 1 --global-batch 4");
  run_step(config, [](const StagePlan&, const std::vector<TraceEvent>& events, int64_t, int64_t) {
    std::set<int64_t> lane_ends;
    for (const TraceEvent& event : events)
      if (event.lane == Lane::kTp) lane_ends.insert(event.t1_ns);
    int handed_over = 0;
    for (const TraceEvent& collective : events) {
      if (collective.lane != Lane::kTp || lane_ends.contains(collective.t0_ns)) continue;
      ++handed_over;
      for (const TraceEvent& node : events) {
        if (node.lane != Lane::kCompute) continue;
        EXPECT_FALSE(node.t0_ns < collective.t0_ns && collective.t0_ns < node.t1_ns);
      }
    }
    EXPECT_GE(handed_over, 16);
  });
}

}  // namespace
}  // namespace trine
