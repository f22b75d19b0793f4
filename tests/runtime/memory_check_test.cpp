// Whether all ranks of a host fit, before any allocates: arena, snapshot and pinned buffers together.
#include "runtime/job/memory_check.h"

#include <atomic>
#include <gmock/gmock.h>

#include "base/error.h"
#include "base/text.h"
#include "comm/local/local_ranks.h"
#include "comm/world.h"
#include "models/llama_config.h"
#include "plan/host_memory.h"
#include "runtime/device/outside_memory.h"
#include "tests/runtime/local_training.h"

namespace trine {
namespace {

using testing::HasSubstr;

constexpr const char* kFlags = "--layers 2 --hidden 32 --heads 4 --kv-heads 2 --ffn 64 --seq 32 --global-batch 4 ";

// As the CPU's, with a memory of its own.
class DeviceOf final : public Backend {
 public:
  explicit DeviceOf(int64_t free_bytes) : room_{free_bytes, free_bytes} {}
  DeviceKind device() const override { return DeviceKind::kCuda; }
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
  std::optional<DeviceRoom> room() const override { return room_; }
  std::string identity() const override { return "one"; }

 private:
  std::unique_ptr<Backend> cpu_ = make_cpu_backend(1);
  DeviceRoom room_;
};

// What both ranks say, of a host with so much; they must say the same. Empty: they fit.
std::string said(const Config& config, int64_t available_bytes, const Backend* device = nullptr) {
  const Plan plan = build_plan(config);
  std::atomic<int> refused = 0;
  std::string text;
  run_local_ranks(2, [&](Fabric& fabric) {
    CommWorld world(fabric, config.mesh, std::chrono::seconds(60));
    const auto cpu = make_cpu_backend(1);
    try {
      check_memory(plan, world.coordinate(), device ? *device : *cpu, &world[Group::kWorld], available_bytes);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kOutOfMemory);
      ++refused;
      if (fabric.rank() == 0) text = error.what();
    }
  });
  EXPECT_TRUE(refused == 0 || refused == 2) << refused;
  return text;
}

TEST(MemoryCheck, CountsTheSnapshotsOfAllRanksOfAHost) {
  const Config plain = config_of(2, std::string(kFlags) + "--tp 2");
  const Config saves = config_of(2, std::string(kFlags) + "--tp 2 --save-interval 10");
  const int64_t arenas = 2 * build_plan(plain).stages[0].memory.total_bytes();
  const int64_t snapshots = 12 * parameter_count(plain.model);  // tp ranks share out the parameters
  EXPECT_EQ(said(plain, arenas), "");
  EXPECT_THAT(said(plain, arenas - 1), HasSubstr("the 2 ranks of this host need " + format_bytes(arenas)));
  EXPECT_EQ(said(saves, arenas + snapshots), "");
  const std::string refusal = said(saves, arenas + snapshots - 1);
  EXPECT_THAT(refusal, HasSubstr("the 2 ranks of this host need " + format_bytes(arenas + snapshots)));
  EXPECT_THAT(refusal, HasSubstr("snapshot of a checkpoint"));
  EXPECT_THAT(refusal, HasSubstr("total (peak of the arena)"));
}

TEST(MemoryCheck, OfGpusTheHostHoldsSnapshotsAndPinnedBuffers) {
  const Config config = config_of(2, std::string(kFlags) + "--tp 2 --device cuda --save-interval 10");
  const Plan plan = build_plan(config);
  // They share the GPU, so that no communicator is counted.
  const int64_t arena = plan.stages[0].memory.total_bytes(), outside = outside_plan_estimate({});
  int64_t on_host = 0;
  for (int tp = 0; tp < 2; ++tp)
    on_host += host_memory(plan.stages[0], config, {.pp = 0, .dp = 0, .tp = tp}).total_bytes();
  EXPECT_GT(on_host, 12 * parameter_count(config.model) + 2 * kPinnedSegments * kPinnedSegmentBytes);
  const DeviceOf fits(2 * (arena + outside)), small(2 * (arena + outside) - 1);
  EXPECT_EQ(said(config, on_host, &fits), "");
  EXPECT_THAT(said(config, on_host, &small), HasSubstr("the 2 ranks of this GPU need"));
  const std::string refusal = said(config, on_host - 1, &fits);
  EXPECT_THAT(refusal, HasSubstr("the 2 ranks of this host need " + format_bytes(on_host)));
  EXPECT_THAT(refusal, HasSubstr("pinned buffers"));
}

}  // namespace
}  // namespace trine
