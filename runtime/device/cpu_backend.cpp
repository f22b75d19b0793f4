#include <cstring>
#include <new>

#include "base/clock.h"
#include "base/error.h"
#include "base/huge_pages.h"
#include "base/text.h"
#include "kernels/cpu/cpu_kernels.h"
#include "runtime/device/backend.h"

namespace trine {
namespace {

// All work is done by the time its call returns: a mark is a time, and there is nothing to wait for.
class HostTimeline final : public Timeline {
 public:
  bool asynchronous() const override { return false; }
  void begin_step() override {}
  Mark mark(Queue) override { return now_ns(); }
  void wait(Queue, Mark) override {}
  void synchronize(Mark) override {}
  void synchronize_all() override {}
  int64_t time_ns(Mark mark) const override { return mark; }
  Progress progress() override { return {}; }
  void push(const char*) override {}
  void pop() override {}
};

class HostMemory final : public DeviceMemory {
 public:
  explicit HostMemory(int64_t bytes) {
    try {
      pages_ = HugePages(bytes);
    } catch (const std::bad_alloc&) {
      throw OutOfMemoryError(fmt::format("the system refuses {}", format_bytes(bytes)));
    }
    data_ = pages_.data(), size_ = bytes;
  }

 private:
  HugePages pages_;
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(int threads)
      : isa_(cpu::best_isa()), threads_(threads), kernels_(cpu::make_cpu_kernels(isa_, threads)) {}

  DeviceKind device() const override { return DeviceKind::kCpu; }
  std::string describe() const override {
    return fmt::format(
        "cpu {}, {} thread{}{}", cpu::name(isa_), threads_, threads_ == 1 ? "" : "s",
        isa_ == cpu::Isa::kAvx512Bf16 && cpu::fastest_bf16().products ? "" : ", bf16 multiplied in f32");
  }
  const KernelTable& kernels() const override { return kernels_; }
  Timeline& timeline() override { return timeline_; }
  std::unique_ptr<DeviceMemory> allocate(int64_t bytes) override { return std::make_unique<HostMemory>(bytes); }
  std::unique_ptr<DeviceMemory> allocate_host(int64_t bytes) override { return allocate(bytes); }
  void read(const std::byte* device, std::span<std::byte> host) const override {
    std::memcpy(host.data(), device, host.size());
  }
  void write(std::span<const std::byte> host, std::byte* device) const override {
    std::memcpy(device, host.data(), host.size());
  }
  void fill(std::span<std::byte> device, std::byte value) const override {
    std::memset(device.data(), static_cast<int>(value), device.size());
  }
  int64_t count_non_finite(const TensorView& view) const override {
    return cpu::count_non_finite(cpu::simd_functions(isa_), view, threads_);
  }
  void copy(Queue, const std::byte* from, std::byte* to, int64_t bytes) override {
    std::memcpy(to, from, static_cast<size_t>(bytes));
  }
  Queue add_queue() override { return Queue(Lane::kCompute); }
  void* native(Queue) const override { return nullptr; }
  std::optional<DeviceRoom> room() const override { return std::nullopt; }
  std::string identity() const override { return {}; }

 private:
  cpu::Isa isa_;
  int threads_;
  KernelTable kernels_;
  HostTimeline timeline_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(int threads) { return std::make_unique<CpuBackend>(threads); }

}  // namespace trine
