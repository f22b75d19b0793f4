// A CUDA device as the kernels of one rank share it: streams, library handles; and RAII around CUDA's handles.
// Every call into CUDA goes through check(): a failure throws with the call's text and its place.
#pragma once

#include <array>
#include <cstddef>
#include <cuda_runtime_api.h>
#include <map>
#include <memory>
#include <set>
#include <source_location>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/trace_event.h"
#include "kernels/cuda/cuda_kernels.h"

namespace trine::cuda {

// A call into CUDA or one of its libraries that failed. The device may be unusable afterwards.
struct DeviceError : Error {
  explicit DeviceError(const std::string& message) : Error(ExitCode::kOther, message) {}
};

// Throws DeviceError, or OutOfMemoryError where memory is short. `call` is the call's text. (cuBLASLt and cuDNN:
// blas_lt.h and sdpa.h.)
using Place = std::source_location;
void check(cudaError_t status, const char* call, Place place = Place::current());
// TRINE_CUDA(cudaStreamSynchronize(stream)): the call, checked.
#define TRINE_CUDA(...) ::trine::cuda::check((__VA_ARGS__), #__VA_ARGS__)

// A handle that is destroyed once; a failing destroy is ignored, because destructors never throw.
template <typename Handle, cudaError_t (*destroy)(Handle)>
class Owned {
 public:
  Owned() = default;
  explicit Owned(Handle handle) : handle_(handle) {}
  ~Owned() {
    if (handle_ != Handle{}) destroy(handle_);
  }
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, Handle{})) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  Handle get() const { return handle_; }

 private:
  Handle handle_{};
};

// A stream that does not wait for the default stream. Higher priority: its kernels are placed first.
class Stream {
 public:
  explicit Stream(bool high_priority = false);
  cudaStream_t get() const { return stream_.get(); }
  void synchronize() const { TRINE_CUDA(cudaStreamSynchronize(get())); }

 private:
  Owned<cudaStream_t, cudaStreamDestroy> stream_;
};

class Event {
 public:
  explicit Event(bool timed = false);
  cudaEvent_t get() const { return event_.get(); }
  void record(cudaStream_t stream) const { TRINE_CUDA(cudaEventRecord(get(), stream)); }
  // Later work of `stream` waits until what was recorded has happened.
  void block(cudaStream_t stream) const { TRINE_CUDA(cudaStreamWaitEvent(stream, get(), 0)); }
  bool happened() const;
  void synchronize() const { TRINE_CUDA(cudaEventSynchronize(get())); }
  // REQUIRES: both are timed and have happened.
  double seconds_since(const Event& earlier) const;

 private:
  Owned<cudaEvent_t, cudaEventDestroy> event_;
};

// Device memory of the current device, not zeroed. OutOfMemoryError if the device refuses.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(int64_t bytes);
  std::byte* data() const { return static_cast<std::byte*>(memory_.get()); }
  int64_t size() const { return size_; }

 private:
  Owned<void*, cudaFree> memory_;
  int64_t size_ = 0;
};

// Page-locked host memory: copies from and to it run beside the host.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  explicit PinnedBuffer(int64_t bytes);
  std::byte* data() const { return static_cast<std::byte*>(memory_.get()); }
  int64_t size() const { return size_; }
  std::span<std::byte> span() const { return {data(), static_cast<size_t>(size_)}; }

 private:
  Owned<void*, cudaFreeHost> memory_;
  int64_t size_ = 0;
};

class BlasLt;          // blas_lt.h
class ProductChoices;  // product_choices.h
class Sdpa;            // sdpa.h

// cos and sin of position * frequency.
struct RopeAngles {
  DeviceBuffer cos, sin;  // f32 [seq, head_dim / 2]
};

struct CudaContext {
  int device = 0;
  const KernelOptions options;
  cudaDeviceProp properties{};
  std::array<Stream, kLanes.size()> streams;

  // REQUIRES: the device exists. Makes it the calling thread's current device.
  CudaContext(int device_index, const KernelOptions& kernel_options);
  ~CudaContext();
  // A thread that enqueues must have called this once.
  void activate() const { TRINE_CUDA(cudaSetDevice(device)); }
  cudaStream_t stream(Lane lane) const { return streams[static_cast<size_t>(lane)].get(); }
  cudaStream_t compute() const { return stream(Lane::kCompute); }

  // What kernels share, made by the first that needs it. Kernels are made by one thread.
  BlasLt& blas_lt();
  ProductChoices& product_choices();
  Sdpa* sdpa(std::string& why_not);  // null where its libraries cannot be opened
  // By inverse frequencies and the number of positions.
  std::map<std::pair<std::vector<double>, int64_t>, std::shared_ptr<const RopeAngles>> rope_angles;
  std::set<std::string> notices;                 // Backend::notices()
  std::map<std::string, int64_t> library_bytes;  // Backend::library_bytes()

 private:
  std::unique_ptr<BlasLt> blas_lt_;
  std::unique_ptr<ProductChoices> product_choices_;
  std::unique_ptr<Sdpa> sdpa_;
  std::string why_no_sdpa_;
};

}  // namespace trine::cuda
