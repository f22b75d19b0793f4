#include "kernels/cuda/context.h"

#include <algorithm>
#include <cstdlib>

#include "base/text.h"
#include "kernels/cuda/blas_lt.h"
#include "kernels/cuda/device/functions.h"
#include "kernels/cuda/product_choices.h"
#include "kernels/cuda/sdpa.h"

namespace trine::cuda {
namespace {

template <typename Memory>
void* allocate(int64_t bytes, const char* what, Memory&& call) {
  void* data = nullptr;
  const cudaError_t status = call(&data, static_cast<size_t>(std::max<int64_t>(bytes, 1)));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // later checks must not see it again
    throw OutOfMemoryError(fmt::format("the device refuses {} of {}", format_bytes(bytes), what));
  }
  check(status, what);
  return data;
}

cudaStream_t make_stream(bool high_priority) {
  int lowest = 0, highest = 0;
  TRINE_CUDA(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
  cudaStream_t stream = nullptr;
  TRINE_CUDA(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, high_priority ? highest : lowest));
  return stream;
}

cudaEvent_t make_event(bool timed) {
  cudaEvent_t event = nullptr;
  TRINE_CUDA(cudaEventCreateWithFlags(&event, timed ? cudaEventDefault : cudaEventDisableTiming));
  return event;
}

// Short kernels of communication go before the next wave of a long product.
std::array<Stream, kLanes.size()> make_streams() {
  const auto of = [](Lane lane) { return Stream(lane != Lane::kCompute); };
  return {of(kLanes[0]), of(kLanes[1]), of(kLanes[2]), of(kLanes[3]), of(kLanes[4]), of(kLanes[5])};
}

int64_t free_bytes() {
  size_t free = 0, total = 0;
  TRINE_CUDA(cudaMemGetInfo(&free, &total));
  return static_cast<int64_t>(free);
}

int selected(int device) {
  TRINE_CUDA(cudaSetDevice(device));
  return device;
}

}  // namespace

void check(cudaError_t status, const char* call, Place place) {
  if (status == cudaSuccess) return;
  const std::string message = fmt::format("[cuda] {} ({}) from {} at {}:{}", cudaGetErrorString(status),
                                          cudaGetErrorName(status), call, place.file_name(), place.line());
  if (status == cudaErrorMemoryAllocation) throw OutOfMemoryError(message);
  throw DeviceError(message);
}

void check_launch(const char* kernel) { check(cudaPeekAtLastError(), kernel); }

void refuse_dtype(int dtype) {
  TRINE_CHECK(false, "no kernel for elements of {}", name(static_cast<DType>(dtype)));
}

void refuse_grid(int64_t blocks) { TRINE_CHECK(false, "no grid has {} blocks in a dim", blocks); }

Stream::Stream(bool high_priority) : stream_(make_stream(high_priority)) {}

Event::Event(bool timed) : event_(make_event(timed)) {}

bool Event::happened() const {
  const cudaError_t status = cudaEventQuery(get());
  if (status != cudaErrorNotReady) check(status, "cudaEventQuery");
  return status == cudaSuccess;
}

double Event::seconds_since(const Event& earlier) const {
  float milliseconds = 0;
  TRINE_CUDA(cudaEventElapsedTime(&milliseconds, earlier.get(), get()));
  return static_cast<double>(milliseconds) * 1e-3;
}

DeviceBuffer::DeviceBuffer(int64_t bytes)
    : memory_(allocate(bytes, "device memory", [](void** data, size_t size) { return cudaMalloc(data, size); })),
      size_(bytes) {}

PinnedBuffer::PinnedBuffer(int64_t bytes)
    : memory_(allocate(bytes, "pinned host memory",
                       [](void** data, size_t size) { return cudaMallocHost(data, size); })),
      size_(bytes) {}

Devices find_devices() {
  // Before the first call of CUDA, which reads it: more queues exist here than the 8 that a device has connections
  // for by default, and queues that share one wait for each other.
  [[maybe_unused]] static const int once = ::setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", /*replace=*/0);
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return {count, {}};
  cudaGetLastError();
  return {
      0, fmt::format("no CUDA device: {}", status == cudaSuccess ? "none is visible" : cudaGetErrorString(status))};
}

ContextPtr make_context(int device, const KernelOptions& options) {
  const Devices found = find_devices();
  if (found.count == 0) throw ConfigError(fmt::format("[cuda] {}. Take --device cpu.", found.why_none));
  if (device < 0 || device >= found.count)
    throw ConfigError(fmt::format("[cuda] device {} of {} (CUDA_VISIBLE_DEVICES?)", device, found.count));
  return std::make_shared<CudaContext>(device, options);
}

CudaContext::CudaContext(int device_index, const KernelOptions& kernel_options)
    : device(selected(device_index)), options(kernel_options), streams(make_streams()) {
  TRINE_CUDA(cudaGetDeviceProperties(&properties, device));
}

CudaContext::~CudaContext() = default;

BlasLt& CudaContext::blas_lt() {
  if (!blas_lt_) {
    const int64_t before = free_bytes();
    blas_lt_ = std::make_unique<BlasLt>();
    library_bytes["cuBLASLt"] = before - free_bytes();
  }
  return *blas_lt_;
}

ProductChoices& CudaContext::product_choices() {
  if (!product_choices_)
    product_choices_ = std::make_unique<ProductChoices>(ProductChoices::Options{
        .file = product_choices_file(),
        .machine = fmt::format("{}, sm_{}{}, cuBLASLt {}, CUDA {}", properties.name, properties.major,
                               properties.minor, blas_lt().GetVersion(), CUDART_VERSION)});
  return *product_choices_;
}

Sdpa* CudaContext::sdpa(std::string& why_not) {
  if (!sdpa_ && why_no_sdpa_.empty()) try {
      const int64_t before = free_bytes();
      sdpa_ = std::make_unique<Sdpa>(options.deterministic);
      library_bytes["cuDNN"] = before - free_bytes();
    } catch (const Error& error) {
      why_no_sdpa_ = error.what();
    }
  why_not = why_no_sdpa_;
  return sdpa_.get();
}

}  // namespace trine::cuda
