#include <cstring>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/error.h"
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

// Anonymous pages, in huge ones where the system gives them: fewer TLB misses in the long streams of the optimizer.
class MappedMemory final : public DeviceMemory {
 public:
  explicit MappedMemory(int64_t bytes) {
    size_ = bytes;
    length_ = static_cast<size_t>(round_up(std::max<int64_t>(bytes, 1), kHugePage) + kHugePage);
    base_ = ::mmap(nullptr, length_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base_ == MAP_FAILED)
      throw OutOfMemoryError(fmt::format("the system refuses {} ({})", format_bytes(bytes), std::strerror(errno)));
    const auto address = reinterpret_cast<uintptr_t>(base_);
    data_ = reinterpret_cast<std::byte*>(round_up(static_cast<int64_t>(address), kHugePage));
    if (bytes >= kHugePage) ::madvise(data_, static_cast<size_t>(bytes / kHugePage * kHugePage), MADV_HUGEPAGE);
  }
  ~MappedMemory() override { ::munmap(base_, length_); }
  MappedMemory(const MappedMemory&) = delete;
  MappedMemory& operator=(const MappedMemory&) = delete;

 private:
  static constexpr int64_t kHugePage = int64_t{2} << 20;
  void* base_ = nullptr;
  size_t length_ = 0;
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
  std::unique_ptr<DeviceMemory> allocate(int64_t bytes) override { return std::make_unique<MappedMemory>(bytes); }
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
