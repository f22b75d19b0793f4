#include "runtime/device/rehearsal/rehearsal_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <sys/mman.h>

#include "base/error.h"
#include "base/text.h"
#include "comm/emulated/carrier.h"
#include "runtime/device/meeting_place.h"
#include "runtime/device/rehearsal/modelled_timeline.h"

namespace trine {
namespace {

int64_t nanoseconds(double seconds) { return std::llround(seconds * 1e9); }

// Addresses without memory behind them.
class ReservedMemory final : public DeviceMemory {
 public:
  ReservedMemory(int64_t bytes, int64_t& taken) : taken_(taken) {
    size_ = bytes;
    void* const base = ::mmap(nullptr, static_cast<size_t>(std::max<int64_t>(bytes, 1)), PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
      throw OutOfMemoryError(
          fmt::format("the system refuses {} of addresses ({})", format_bytes(bytes), std::strerror(errno)));
    data_ = static_cast<std::byte*>(base);
    taken_ += bytes;
  }
  ~ReservedMemory() override {
    taken_ -= size_;
    ::munmap(data_, static_cast<size_t>(std::max<int64_t>(size_, 1)));
  }
  ReservedMemory(const ReservedMemory&) = delete;
  ReservedMemory& operator=(const ReservedMemory&) = delete;

 private:
  int64_t& taken_;
};

class HostMemory final : public DeviceMemory {
 public:
  explicit HostMemory(int64_t bytes) : bytes_(static_cast<size_t>(bytes)) {
    data_ = bytes_.data();
    size_ = bytes;
  }

 private:
  std::vector<std::byte> bytes_;
};

class RehearsalBackend final : public Backend {
 public:
  explicit RehearsalBackend(ModelledDevice device)
      : device_(std::move(device)), timeline_(nanoseconds(device_.launch_s)) {
    for (const std::string& op : make_cpu_backend(1)->kernels().ops())
      kernels_.add(op, [this](const KernelRequest& request) { return kernel(request); });
  }

  DeviceKind device() const override { return DeviceKind::kCuda; }
  std::string describe() const override { return device_.name + ", modelled"; }
  const KernelTable& kernels() const override { return kernels_; }
  Timeline& timeline() override { return timeline_; }
  std::unique_ptr<DeviceMemory> allocate(int64_t bytes) override {
    if (bytes > device_.memory_bytes - taken_)
      throw OutOfMemoryError(fmt::format("a {} has {} for it (--set device.memory_gib=80 rehearses more)",
                                         device_.name, format_bytes(device_.memory_bytes - taken_)));
    return std::make_unique<ReservedMemory>(bytes, taken_);
  }
  std::unique_ptr<DeviceMemory> allocate_host(int64_t bytes) override {
    return std::make_unique<HostMemory>(bytes);
  }

  void read(const std::byte* device, std::span<std::byte> host) const override {
    const std::lock_guard lock(mutex_);
    const auto found = written_.find(device);
    const size_t known = found == written_.end() ? 0 : std::min(found->second.size(), host.size());
    if (known > 0) std::memcpy(host.data(), found->second.data(), known);
    std::fill(host.begin() + static_cast<ptrdiff_t>(known), host.end(), std::byte{0});
  }
  void write(std::span<const std::byte> host, std::byte* device) const override {
    const std::lock_guard lock(mutex_);
    written_[device].assign(host.begin(), host.end());
  }
  void fill(std::span<std::byte>, std::byte) const override {}
  int64_t count_non_finite(const TensorView&) const override { return 0; }
  // Of what was written, to the host: at once, for nothing changes it.
  void copy(Queue queue, const std::byte* from, std::byte* to, int64_t bytes) override {
    {
      const std::lock_guard lock(mutex_);
      for (auto at = written_.lower_bound(from); at != written_.end() && at->first < from + bytes; ++at)
        std::memcpy(to + (at->first - from), at->second.data(),
                    std::min(at->second.size(), static_cast<size_t>(from + bytes - at->first)));
    }
    timeline_.work(queue, nanoseconds(static_cast<double>(bytes) / device_.host_copy_bytes_per_s));
  }
  Queue add_queue() override { return timeline_.add_queue(); }
  // A queue's number, from 1.
  void* native(Queue queue) const override {
    return reinterpret_cast<void*>(static_cast<intptr_t>(queue.index + 1));
  }
  std::optional<DeviceRoom> room() const override {
    return DeviceRoom{.free_bytes = device_.memory_bytes - taken_, .total_bytes = device_.memory_bytes};
  }
  bool loads_kernels_late() const override { return false; }
  // Every rank has a device of its own.
  std::string identity() const override { return fmt::format("{}", static_cast<const void*>(this)); }

  const ModelledDevice& model() const { return device_; }
  ModelledTimeline& modelled_timeline() { return timeline_; }
  ModelledTimeline::Meeting meeting_at(Meetings::Place place, EmulatedTransfer transfer) {
    return [this, place = std::make_shared<const Meetings::Place>(std::move(place)),
            transfer = std::make_shared<const EmulatedTransfer>(std::move(transfer))](int64_t ready_ns) {
      return carrier_->carry(*place, *transfer, ready_ns, [this] { timeline_.throw_if_failed(); });
    };
  }
  void meet_through(std::shared_ptr<Carrier> carrier) { carrier_ = std::move(carrier); }

 private:
  Kernel kernel(const KernelRequest& request) {
    if (request.group != nullptr) return collective(request);
    return [this, lane = request.lane, seconds = device_.kernel_s(request.node)](const KernelCall&) {
      timeline_.work(lane, nanoseconds(device_.noise ? seconds * device_.noise() : seconds));
    };
  }

  Kernel collective(const KernelRequest& request) {
    TRINE_CHECK(carrier_ != nullptr, "{}: the devices of a rehearsal have not met", request.op.name());
    return [this, lane = request.lane,
            meeting = meeting_at(meeting_place(carrier_->meetings(), request), device_.collective(request.node))](
               const KernelCall&) { timeline_.meet(lane, meeting); };
  }

  const ModelledDevice device_;
  std::shared_ptr<Carrier> carrier_;
  int64_t taken_ = 0;
  mutable std::mutex mutex_;
  mutable std::map<const std::byte*, std::vector<std::byte>> written_;
  KernelTable kernels_;
  ModelledTimeline timeline_;  // last: its threads use the rest
};

// The kernels of this device meet by themselves: here nothing is called.
class NoGroup final : public DeviceGroup {
 public:
  void all_reduce(void*, int64_t, DType, ReduceOp, void*) override { refuse(); }
  void reduce_scatter(const void*, void*, int64_t, DType, int64_t, void*) override { refuse(); }
  void all_gather(const void*, void*, int64_t, DType, int64_t, void*) override { refuse(); }
  void send(const void*, int64_t, DType, int, void*) override { refuse(); }
  void receive(void*, int64_t, DType, int, void*) override { refuse(); }

 private:
  static void refuse() { TRINE_CHECK(false, "a modelled group moves no bytes"); }
};

class RehearsalWorld final : public DeviceWorld {
 public:
  RehearsalWorld(RehearsalBackend& backend, std::shared_ptr<Carrier> carrier)
      : backend_(backend), carrier_(std::move(carrier)) {}

  DeviceGroup& operator[](Axis) override { return group_; }
  void send(PipelineEdge edge, const void*, int64_t bytes, void* queue) override {
    exchange(edge, bytes, queue, /*sends=*/true);
  }
  void receive(PipelineEdge edge, void*, int64_t bytes, void* queue) override {
    exchange(edge, bytes, queue, /*sends=*/false);
  }
  void check() override {}
  void abort(std::exception_ptr why) override { backend_.modelled_timeline().fail(std::move(why)); }

 private:
  void exchange(PipelineEdge edge, int64_t bytes, void* queue, bool sends) {
    const Queue of(static_cast<int>(reinterpret_cast<intptr_t>(queue)) - 1);
    backend_.modelled_timeline().meet(of, backend_.meeting_at(carrier_->meetings().place_of(edge, sends),
                                                              backend_.model().message(edge.peer, sends, bytes)));
  }

  RehearsalBackend& backend_;
  std::shared_ptr<Carrier> carrier_;
  NoGroup group_;
};

}  // namespace

std::unique_ptr<Backend> make_rehearsal_backend(ModelledDevice device) {
  return std::make_unique<RehearsalBackend>(std::move(device));
}

std::unique_ptr<DeviceWorld> make_rehearsal_world(CommWorld& world, Backend& backend) {
  auto* const rehearsal = dynamic_cast<RehearsalBackend*>(&backend);
  TRINE_CHECK(rehearsal != nullptr, "{} is no rehearsal", backend.describe());
  const auto carrier = std::make_shared<Carrier>(world, rehearsal->model().links);
  rehearsal->meet_through(carrier);
  return std::make_unique<RehearsalWorld>(*rehearsal, carrier);
}

}  // namespace trine
