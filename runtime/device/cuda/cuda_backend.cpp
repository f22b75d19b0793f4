#include <algorithm>
#include <cublasLt.h>

#include "base/text.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/library.h"
#include "kernels/cuda/product_choices.h"
#include "runtime/device/backend.h"
#include "runtime/device/cuda/cuda_timeline.h"
#include "runtime/device/cuda/preflight.h"
#include "runtime/device/cuda/staging.h"

namespace trine {
namespace cuda {
namespace {

#define TRINE_TEXT_OF(x) #x
#define TRINE_TEXT(x) TRINE_TEXT_OF(x)

// "cuDNN 9.10.2". Both count major * 10000 + minor * 100 + patch.
std::string version_of(const char* name, const char* file, const char* function) {
  try {
    const size_t version = Library(file).function<size_t (*)()>(function)();
    return fmt::format("{} {}.{}.{}", name, version / 10000, version / 100 % 100, version % 100);
  } catch (const Error&) {
    return fmt::format("no {}", name);
  }
}

class ZeroedDeviceMemory final : public DeviceMemory {
 public:
  ZeroedDeviceMemory(ContextPtr context, int64_t bytes) : context_(std::move(context)) {
    context_->activate();
    buffer_ = DeviceBuffer(bytes);
    data_ = buffer_.data(), size_ = bytes;
    TRINE_CUDA(cudaMemsetAsync(data_, 0, static_cast<size_t>(bytes), context_->compute()));
    TRINE_CUDA(cudaStreamSynchronize(context_->compute()));
  }

 private:
  ContextPtr context_;
  DeviceBuffer buffer_;
};

class PinnedMemory final : public DeviceMemory {
 public:
  PinnedMemory(ContextPtr context, int64_t bytes) : context_(std::move(context)) {
    context_->activate();
    buffer_ = PinnedBuffer(bytes);
    data_ = buffer_.data(), size_ = bytes;
    std::fill_n(data_, bytes, std::byte{0});
  }

 private:
  ContextPtr context_;
  PinnedBuffer buffer_;
};

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(ContextPtr context)
      : context_(std::move(context)),
        timeline_(context_),
        staging_(context_),
        kernels_(make_cuda_kernels(context_)) {}

  DeviceKind device() const override { return DeviceKind::kCuda; }
  std::string describe() const override {
    const cudaDeviceProp& device = context_->properties;
    int driver = 0;
    TRINE_CUDA(cudaDriverGetVersion(&driver));
    return fmt::format("cuda {}, {:.0f} GB, sm_{}{}, driver for CUDA {}.{}, {}, {}", device.name,
                       static_cast<double>(device.totalGlobalMem) * 1e-9, device.major, device.minor, driver / 1000,
                       driver % 1000 / 10,
                       version_of("cuBLASLt", "libcublasLt.so." TRINE_TEXT(CUBLAS_VER_MAJOR), "cublasLtGetVersion"),
                       version_of("cuDNN", "libcudnn.so.9", "cudnnGetVersion"));
  }
  const KernelTable& kernels() const override { return kernels_; }
  Timeline& timeline() override { return timeline_; }

  std::unique_ptr<DeviceMemory> allocate(int64_t bytes) override {
    return std::make_unique<ZeroedDeviceMemory>(context_, bytes);
  }
  std::unique_ptr<DeviceMemory> allocate_host(int64_t bytes) override {
    return std::make_unique<PinnedMemory>(context_, bytes);
  }
  void read(const std::byte* device, std::span<std::byte> host) const override { staging_.read(device, host); }
  void write(std::span<const std::byte> host, std::byte* device) const override { staging_.write(host, device); }
  void fill(std::span<std::byte> device, std::byte value) const override {
    context_->activate();
    TRINE_CUDA(cudaMemsetAsync(device.data(), static_cast<int>(value), device.size(), context_->compute()));
    TRINE_CUDA(cudaStreamSynchronize(context_->compute()));
  }
  int64_t count_non_finite(const TensorView& view) const override {
    context_->activate();
    return cuda::count_non_finite(*context_, view);
  }
  void copy(Queue queue, const std::byte* from, std::byte* to, int64_t bytes) override {
    context_->activate();
    TRINE_CUDA(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, timeline_.stream(queue)));
  }
  Queue add_queue() override { return timeline_.add_queue(); }
  void* native(Queue queue) const override { return timeline_.stream(queue); }

  std::optional<DeviceRoom> room() const override {
    context_->activate();
    size_t free = 0, total = 0;
    TRINE_CUDA(cudaMemGetInfo(&free, &total));
    return DeviceRoom{static_cast<int64_t>(free), static_cast<int64_t>(total)};
  }
  std::vector<std::pair<std::string, int64_t>> library_bytes() const override {
    return {context_->library_bytes.begin(), context_->library_bytes.end()};
  }
  std::string identity() const override { return identity_of(context_->properties.uuid.bytes); }
  bool begin_trials() override {
    context_->activate();
    if (context_->options.deterministic) return false;
    context_->product_choices().open();
    return true;
  }
  std::string end_trials() override {
    if (context_->options.deterministic) return {};
    ProductChoices& choices = context_->product_choices();
    choices.close();
    context_->notices.insert(choices.notices().begin(), choices.notices().end());
    return choices.text();
  }
  std::string trial_results() const override {
    return context_->options.deterministic ? std::string() : context_->product_choices().table();
  }
  void adopt_trials(const std::string& results) override {
    if (!results.empty()) context_->product_choices().adopt(results);
  }
  std::vector<std::string> notices() const override { return {context_->notices.begin(), context_->notices.end()}; }

 private:
  const ContextPtr context_;
  CudaTimeline timeline_;
  mutable Staging staging_;
  const KernelTable kernels_;
};

}  // namespace
}  // namespace cuda

std::unique_ptr<Backend> make_cuda_backend(int device, const KernelOptions& options) {
  return std::make_unique<cuda::CudaBackend>(cuda::make_context(device, options));
}

int find_cuda_devices() {
  const cuda::Devices devices = cuda::find_devices();
  if (devices.count == 0) throw ConfigError(fmt::format("[cuda] {}. Take --device cpu.", devices.why_none));
  return devices.count;
}

}  // namespace trine
