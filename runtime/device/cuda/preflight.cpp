// What links between GPUs are worth, tried before training relies on them.
#include "runtime/device/cuda/preflight.h"

#include <vector>

#include "kernels/cuda/context.h"

namespace trine {
namespace cuda {
namespace {

constexpr int64_t kLargeBytes = int64_t{64} << 20, kSmallBytes = 4;
constexpr int kRounds = 20;

// The device of this process with that identity, -1 if it sees none.
int find_device(const std::string& identity) {
  for (int device = 0; device < find_devices().count; ++device) {
    cudaDeviceProp properties{};
    TRINE_CUDA(cudaGetDeviceProperties(&properties, device));
    if (identity_of(properties.uuid.bytes) == identity) return device;
  }
  return -1;
}

DeviceBuffer buffer_on(int device) {
  TRINE_CUDA(cudaSetDevice(device));
  return DeviceBuffer(kLargeBytes);
}

// Seconds of one copy, mean of kRounds.
double time_copy(const DeviceBuffer& to, int to_device, const DeviceBuffer& from, int from_device, int64_t bytes) {
  TRINE_CUDA(cudaSetDevice(from_device));
  const Stream stream;
  const Event begin(/*timed=*/true), end(/*timed=*/true);
  const auto copy = [&] {
    TRINE_CUDA(cudaMemcpyPeerAsync(to.data(), to_device, from.data(), from_device, static_cast<size_t>(bytes),
                                   stream.get()));
  };
  copy();
  begin.record(stream.get());
  for (int round = 0; round < kRounds; ++round) copy();
  end.record(stream.get());
  end.synchronize();
  return end.seconds_since(begin) / kRounds;
}

// A pattern goes over and must come out the same: some boards and virtual machines claim peer access and lose data.
bool data_survives(const DeviceBuffer& to, int to_device, const DeviceBuffer& from, int from_device) {
  std::vector<uint32_t> sent(static_cast<size_t>(kLargeBytes) / sizeof(uint32_t)), got(sent.size());
  uint32_t value = 12345;
  for (uint32_t& word : sent) word = value = value * 1664525u + 1013904223u;  // Numerical Recipes
  const auto bytes = static_cast<size_t>(kLargeBytes);
  TRINE_CUDA(cudaSetDevice(from_device));
  TRINE_CUDA(cudaMemcpy(from.data(), sent.data(), bytes, cudaMemcpyHostToDevice));
  TRINE_CUDA(cudaMemcpyPeer(to.data(), to_device, from.data(), from_device, bytes));
  TRINE_CUDA(cudaDeviceSynchronize());
  TRINE_CUDA(cudaSetDevice(to_device));
  TRINE_CUDA(cudaMemcpy(got.data(), to.data(), bytes, cudaMemcpyDeviceToHost));
  return sent == got;
}

void enable_peer(int device, int peer) {
  TRINE_CUDA(cudaSetDevice(device));
  const cudaError_t status = cudaDeviceEnablePeerAccess(peer, 0);
  if (status == cudaErrorPeerAccessAlreadyEnabled)
    cudaGetLastError();
  else
    check(status, "cudaDeviceEnablePeerAccess");
}

void disable_peer(int device, int peer) {
  TRINE_CUDA(cudaSetDevice(device));
  TRINE_CUDA(cudaDeviceDisablePeerAccess(peer));
}

PeerLink test_link(int from_device, int to_device) {
  PeerLink link;
  int forward = 0, backward = 0;
  TRINE_CUDA(cudaDeviceCanAccessPeer(&forward, from_device, to_device));
  TRINE_CUDA(cudaDeviceCanAccessPeer(&backward, to_device, from_device));
  link.access = forward != 0 && backward != 0;
  if (link.access) enable_peer(from_device, to_device), enable_peer(to_device, from_device);
  const DeviceBuffer from = buffer_on(from_device), to = buffer_on(to_device);
  link.data_right = data_survives(to, to_device, from, from_device);
  link.bytes_per_s = static_cast<double>(kLargeBytes) / time_copy(to, to_device, from, from_device, kLargeBytes);
  link.latency_s = time_copy(to, to_device, from, from_device, kSmallBytes);
  if (link.access) disable_peer(from_device, to_device), disable_peer(to_device, from_device);
  return link;
}

}  // namespace

std::string identity_of(const char (&uuid)[16]) {
  std::string text;
  for (const char byte : uuid) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

}  // namespace cuda

std::vector<PeerLink> test_peer_links(const std::vector<std::string>& identities, bool keep_contexts) {
  int own = 0;
  TRINE_CUDA(cudaGetDevice(&own));
  std::vector<int> devices;
  for (const std::string& identity : identities) devices.push_back(cuda::find_device(identity));
  std::vector<PeerLink> links;
  for (size_t i = 0; i < devices.size() && devices.size() > 1; ++i) {
    const int from = devices[i], to = devices[(i + 1) % devices.size()];
    PeerLink link;
    if (from >= 0 && to >= 0) link = cuda::test_link(from, to), link.tested = true;
    link.from = static_cast<int>(i), link.to = static_cast<int>((i + 1) % devices.size());
    links.push_back(link);
  }
  for (const int device : devices) {  // what the test has left there belongs to their ranks
    if (device < 0 || device == own || keep_contexts) continue;
    TRINE_CUDA(cudaSetDevice(device));
    TRINE_CUDA(cudaDeviceReset());
  }
  TRINE_CUDA(cudaSetDevice(own));
  return links;
}

}  // namespace trine
