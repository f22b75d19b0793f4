// The functions of CUDA's runtime that the host code of kernels/cuda/ and runtime/device/cuda/ calls. The device's
// memory is the host's, and all work is done when a call returns:
// a stream knows its device and what it captures, an event when it was recorded.
#include "tests/cuda_on_cpu/runtime.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <cuda_runtime_api.h>
#include <functional>
#include <memory>
#include <vector>

#include "tests/cuda_on_cpu/block.h"

using Work = std::function<void()>;

// What it holds is done in order.
struct CUgraph_st {
  std::vector<Work> work;
};
struct CUgraphExec_st {
  int device = 0;
  std::vector<Work> work;
};
struct CUstream_st {
  int device = 0;
  std::unique_ptr<CUgraph_st> capture = nullptr;  // while it captures
  bool invalidated = false;                       // by a call that no capture may see
};
struct CUevent_st {
  int device = 0;
  std::chrono::steady_clock::time_point recorded;
};

namespace {

thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;
std::atomic<int64_t> wrong_device = 0, graphs = 0, launches = 0;

cudaError_t done_on(int device) {
  if (device != current_device) ++wrong_device;
  return cudaSuccess;
}
cudaError_t done_in(cudaStream_t stream) { return done_on(stream->device); }

// Of this thread, which forbids it what waits or takes memory (cudaStreamCaptureModeThreadLocal).
thread_local cudaStream_t capturing = nullptr;

cudaError_t refused_in_capture() {
  if (capturing == nullptr) return cudaSuccess;
  capturing->invalidated = true;
  return last_error = cudaErrorStreamCaptureUnsupported;
}
// The work is done now, or a part of the graph.
cudaError_t enqueue(cudaStream_t stream, Work work) {
  if (!trine::on_cpu::captured(stream, work)) work();
  return done_in(stream);
}

}  // namespace

int64_t trine::on_cpu::calls_on_wrong_device() { return wrong_device; }
std::string trine::on_cpu::connections_at_first_call() {
  static const std::string connections = [] {
    const char* const value = std::getenv("CUDA_DEVICE_MAX_CONNECTIONS");
    return std::string(value == nullptr ? "" : value);
  }();
  return connections;
}
int64_t trine::on_cpu::num_graphs() { return graphs; }
int64_t trine::on_cpu::graphs_launched() { return launches; }

bool trine::on_cpu::captured(cudaStream_t stream, Work work) {
  if (stream == nullptr || !stream->capture) return false;
  stream->capture->work.push_back(std::move(work));
  return true;
}

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  trine::on_cpu::connections_at_first_call();
  *count = trine::on_cpu::kNumDevices;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  trine::on_cpu::connections_at_first_call();
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  *properties = {};
  properties->uuid.bytes[0] = static_cast<char>(device);
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = *total = size_t{1} << 30;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* lowest, int* highest) {
  *lowest = *highest = 0;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  *stream = new CUstream_st{.device = current_device};
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const cudaError_t refused = refused_in_capture(); refused != cudaSuccess) return refused;
  return done_in(stream);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t, unsigned) { return done_in(stream); }

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (stream->capture || mode != cudaStreamCaptureModeThreadLocal) return last_error = cudaErrorIllegalState;
  stream->capture = std::make_unique<CUgraph_st>();
  stream->invalidated = false;
  capturing = stream;
  return done_in(stream);
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (!stream->capture || capturing != stream) return last_error = cudaErrorIllegalState;
  capturing = nullptr;
  const std::unique_ptr<CUgraph_st> captured = std::move(stream->capture);
  if (stream->invalidated) return last_error = cudaErrorStreamCaptureInvalidated;
  ++graphs;
  *graph = new CUgraph_st(*captured);
  return done_in(stream);
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  --graphs;
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  ++graphs;
  *exec = new CUgraphExec_st{current_device, graph->work};
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  --graphs;
  const cudaError_t status = done_on(exec->device);
  delete exec;
  return status;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream) {
  return exec->device == stream->device ? done_in(stream) : cudaErrorInvalidResourceHandle;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (exec->device != stream->device) return cudaErrorInvalidResourceHandle;
  ++launches;
  for (const Work& work : exec->work) work();
  return done_in(stream);
}

// Launches throw by themselves (block.h).
cudaError_t cudaPeekAtLastError() { return last_error; }
cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
const char* cudaGetErrorName(cudaError_t error) { return error == cudaSuccess ? "cudaSuccess" : "an error"; }
const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || !trine::on_cpu::allow_shared(kernel, value))
    last_error = cudaErrorInvalidValue;
  return last_error;
}

// Nobody has written it: NaNs.
cudaError_t cudaMalloc(void** data, size_t bytes) {
  if (const cudaError_t refused = refused_in_capture(); refused != cudaSuccess) return refused;
  *data = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (*data == nullptr) return cudaErrorMemoryAllocation;
  std::memset(*data, 0xff, bytes);
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** data, size_t bytes) { return cudaMalloc(data, bytes); }
cudaError_t cudaFree(void* data) {
  std::free(data);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* data) { return cudaFree(data); }

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return enqueue(stream, [=] {
    if (bytes > 0) std::memcpy(to, from, bytes);
  });
}
cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
  return enqueue(stream, [=] { std::memset(data, value, bytes); });
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind, cudaStream_t stream) {
  if (to_pitch < width || from_pitch < width) return cudaErrorInvalidPitchValue;
  return enqueue(stream, [=] {
    for (size_t row = 0; row < height; ++row)
      std::memcpy(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch,
                  width);
  });
}
cudaError_t cudaMemset2DAsync(void* data, size_t pitch, int value, size_t width, size_t height,
                              cudaStream_t stream) {
  if (pitch < width) return cudaErrorInvalidPitchValue;
  return enqueue(stream, [=] {
    for (size_t row = 0; row < height; ++row) std::memset(static_cast<char*>(data) + row * pitch, value, width);
  });
}

// Of links between devices: there is none, and the host carries all.
cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) {
  *can = 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) { return cudaErrorPeerAccessUnsupported; }
cudaError_t cudaDeviceDisablePeerAccess(int) { return cudaErrorPeerAccessNotEnabled; }
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpyPeer(void* to, int, const void* from, int, size_t bytes) {
  return cudaMemcpy(to, from, bytes, cudaMemcpyDefault);
}
cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, cudaStream_t stream) {
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream);
}
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
cudaError_t cudaDeviceReset() { return cudaSuccess; }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st{current_device, {}};
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->recorded = std::chrono::steady_clock::now();
  return event->device == stream->device ? done_in(stream) : cudaErrorInvalidResourceHandle;
}
cudaError_t cudaEventQuery(cudaEvent_t event) { return done_on(event->device); }
cudaError_t cudaEventSynchronize(cudaEvent_t event) { return done_on(event->device); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->recorded - begin->recorded).count();
  return done_on(begin->device);
}

}  // extern "C"
