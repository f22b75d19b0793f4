// What messages between devices cost, tried with known numbers:
// over ranks that are threads and devices that are the host.
#include "runtime/device/link_times.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "comm/local/local_ranks.h"
#include "plan/plan.h"
#include "runtime/device/outside_memory.h"
#include "tests/runtime/async_backend.h"
#include "tests/runtime/local_training.h"

namespace trine {
namespace {

using Call = RunMessage::Op;
using std::chrono::seconds;

// Devices that talk by the host's communicators, at once. `flips` a bit of what comes out.
class HostGroup final : public DeviceGroup {
 public:
  HostGroup(Communicator& group, bool flips) : group_(group), flips_(flips) {}
  void all_reduce(void* data, int64_t count, DType dtype, ReduceOp op, void*) override {
    group_.all_reduce(data, count, dtype, op);
    spoil(data);
  }
  void reduce_scatter(const void* input, void* shard, int64_t count, DType dtype, int64_t unit, void*) override {
    group_.reduce_scatter(input, shard, count, dtype, ReduceOp::kSum, unit);
    spoil(shard);
  }
  void all_gather(const void* shard, void* output, int64_t count, DType dtype, int64_t unit, void*) override {
    group_.all_gather(shard, output, count, dtype, unit);
    spoil(output);
  }
  void send(const void*, int64_t, DType, int, void*) override {}
  void receive(void*, int64_t, DType, int, void*) override {}

 private:
  void spoil(void* data) const {
    if (flips_ && group_.rank() == 1) static_cast<uint8_t*>(data)[2] ^= 1;
  }
  Communicator& group_;
  const bool flips_;
};

class HostWorld final : public DeviceWorld {
 public:
  HostWorld(CommWorld& world, bool flips)
      : tp_(world[Group::kTp], flips), pp_(world[Group::kPp], flips), messages_(world[Group::kPp]) {}
  DeviceGroup& operator[](Axis axis) override { return axis == Axis::kTp ? tp_ : pp_; }
  void send(PipelineEdge edge, const void* data, int64_t bytes, void*) override {
    messages_.send(data, bytes, DType::kU8, edge.peer, 7);
  }
  void receive(PipelineEdge edge, void* data, int64_t bytes, void*) override {
    messages_.recv(data, bytes, DType::kU8, edge.peer, 7);
  }
  void check() override {}
  void abort(std::exception_ptr) override {}

 private:
  HostGroup tp_, pp_;
  Communicator& messages_;
};

enum class Way { kDevice, kSpoiled, kStaged, kStagedByQueues };

std::vector<MessageTime> times_of(const Mesh& mesh, const RunMessage& message, Way way) {
  std::vector<MessageTime> times(static_cast<size_t>(mesh.num_ranks()));
  run_local_ranks(mesh.num_ranks(), [&](Fabric& fabric) {
    CommWorld world(fabric, mesh, seconds(60));
    const auto backend = way == Way::kStagedByQueues ? make_async_backend(1) : make_cpu_backend(1);
    HostWorld device(world, way == Way::kSpoiled);
    const bool by_device = way == Way::kDevice || way == Way::kSpoiled;
    const MessageTimer timer = message_timer(*backend, world, by_device ? &device : nullptr, seconds(60));
    times[static_cast<size_t>(fabric.rank())] = timer(message);
  });
  return times;
}

TEST(LinkTimes, EveryKindOfMessageBringsTheRightData) {
  for (const Way way : {Way::kDevice, Way::kStaged, Way::kStagedByQueues})
    for (const Call op : {Call::kAllReduce, Call::kReduceScatter, Call::kAllGather, Call::kSend})
      for (const int64_t bytes : {1, 4 * 997, 24 << 20}) {
        if (bytes > 1 << 20 && way != Way::kStagedByQueues) continue;  // more pieces than are ahead
        const Axis axis = op == Call::kSend ? Axis::kPp : Axis::kTp;
        const Mesh mesh = op == Call::kSend ? Mesh{.pp = 3} : Mesh{.pp = 1, .dp = 1, .tp = 3};
        const RunMessage message{.axis = axis, .op = op, .bytes = bytes, .per_step = 1};
        for (const MessageTime& time : times_of(mesh, message, way)) {
          EXPECT_TRUE(time.data_right) << message.text() << ", way " << static_cast<int>(way);
          EXPECT_GT(time.seconds, 0);
          EXPECT_LT(time.seconds, 60);
        }
      }
}

TEST(LinkTimes, AWrongBitOnOneRankIsAllRanks) {
  for (const Call op : {Call::kAllReduce, Call::kReduceScatter, Call::kAllGather})
    for (const MessageTime& time :
         times_of({.pp = 1, .dp = 1, .tp = 2}, {.axis = Axis::kTp, .op = op, .bytes = 4096, .per_step = 1},
                  Way::kSpoiled))
      EXPECT_FALSE(time.data_right);
}

TEST(LinkTimes, MessagesAreThoseOfTheStep) {
  const Config config = config_of(4,
                                  "--layers 2 --hidden 32 --heads 4 --kv-heads 2 --ffn 64 --seq 32 --global-batch "
                                  "4 --dtype f32 --tp 2 --pp 2 --sp off");
  const Plan plan = build_plan(config);
  run_local_ranks(4, [&](Fabric& fabric) {
    CommWorld world(fabric, config.mesh, seconds(60));
    const StagePlan& stage = plan.stages[static_cast<size_t>(world.coordinate().pp)];
    bool reduces = false, sends = false;
    for (const RunMessage& message : messages_of(step_work(stage, config.num_microbatches()), world)) {
      // Rows of a microbatch by the residual stream's width, in f32; the last stage sends none forward, and knows.
      const int64_t activations = config.micro_batch * config.seq * config.model.hidden * 4;
      if (message.axis == Axis::kTp && message.op == Call::kAllReduce) {
        reduces = true;
        EXPECT_EQ(message.bytes, activations);
      }
      if (message.op == Call::kSend) {
        sends = true;
        EXPECT_EQ(message.bytes, activations);
        EXPECT_GE(message.per_step, static_cast<double>(config.num_microbatches()));
      }
    }
    EXPECT_TRUE(reduces && sends);
  });
}

// A device whose memory is taken as the test says.
class Filling final : public Backend {
 public:
  int64_t in_use = 0;
  DeviceKind device() const override { return cpu_->device(); }
  std::string describe() const override { return cpu_->describe(); }
  const KernelTable& kernels() const override { return cpu_->kernels(); }
  Timeline& timeline() override { return cpu_->timeline(); }
  std::unique_ptr<DeviceMemory> allocate(int64_t bytes) override { return cpu_->allocate(bytes); }
  std::unique_ptr<DeviceMemory> allocate_host(int64_t bytes) override { return cpu_->allocate_host(bytes); }
  void read(const std::byte* from, std::span<std::byte> to) const override { cpu_->read(from, to); }
  void write(std::span<const std::byte> from, std::byte* to) const override { cpu_->write(from, to); }
  void fill(std::span<std::byte> memory, std::byte value) const override { cpu_->fill(memory, value); }
  int64_t count_non_finite(const TensorView& view) const override { return cpu_->count_non_finite(view); }
  void copy(Queue queue, const std::byte* from, std::byte* to, int64_t bytes) override {
    cpu_->copy(queue, from, to, bytes);
  }
  Queue add_queue() override { return cpu_->add_queue(); }
  void* native(Queue queue) const override { return cpu_->native(queue); }
  std::optional<DeviceRoom> room() const override {
    return DeviceRoom{(int64_t{8} << 30) - in_use, int64_t{8} << 30};
  }
  std::string identity() const override { return {}; }

 private:
  std::unique_ptr<Backend> cpu_ = make_cpu_backend(1);
};

TEST(OutsideMemory, IsWhatGrewBesidesThePlan) {
  constexpr int64_t kMiB = int64_t{1} << 20;
  Filling device;
  OutsideMemory outside;
  EXPECT_EQ(outside.text(), "");
  device.in_use = 400 * kMiB;
  outside.note(device, "context");
  device.in_use += 192 * kMiB;
  outside.note(device, "communicators");
  device.in_use += 1000 * kMiB + 100 * kMiB;  // the arena, and kernels with a library
  outside.part("cuDNN", 60 * kMiB);
  outside.note(device, "kernels", 1000 * kMiB);
  device.in_use -= 8 * kMiB;
  outside.note(device, "first step");
  EXPECT_EQ(outside.total_bytes(), (400 + 192 + 100 - 8) * kMiB);
  EXPECT_EQ(
      outside.text(),
      "684.0 MiB outside the plan: context 400.0 MiB, communicators 192.0 MiB, cuDNN 60.0 MiB, kernels 40.0 MiB, "
      "first step -8.0 MiB");
  OutsideMemory none;
  none.note(*make_cpu_backend(1), "context");
  EXPECT_EQ(none.text(), "");
}

TEST(OutsideMemory, TheEstimateCountsCommunicators) {
  const auto of = [](int ranks, const std::string& flags, int pp) {
    const DeviceCommunicators c = communicators_of(config_of(ranks, "--layers 8 " + flags), {.pp = pp});
    return std::pair{c.groups, c.edges};
  };
  EXPECT_EQ(of(1, "", 0), std::pair(0, 0));
  EXPECT_EQ(of(4, "--tp 2", 0), std::pair(2, 0));
  EXPECT_EQ(of(4, "--pp 4", 0), std::pair(1, 2));  // an end of each direction
  EXPECT_EQ(of(4, "--pp 4", 2), std::pair(1, 4));
  EXPECT_EQ(of(2, "--pp 2 --vpp 2 --schedule interleaved", 1), std::pair(1, 4));
  const int64_t alone = outside_plan_estimate({}), edge = outside_plan_estimate({.groups = 0, .edges = 1}) - alone;
  EXPECT_GE(edge, int64_t{64} << 20);
  EXPECT_LE(edge, int64_t{128} << 20);
  EXPECT_EQ(outside_plan_estimate({.groups = 0, .edges = 4}), alone + 4 * edge);
}

}  // namespace
}  // namespace trine
