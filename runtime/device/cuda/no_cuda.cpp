// Stands for this folder where nvcc was not found.
#include "base/error.h"
#include "kernels/cuda/cuda_kernels.h"
#include "runtime/device/backend.h"
#include "runtime/device/devices.h"

namespace trine {

std::unique_ptr<Backend> make_cuda_backend(int device, const KernelOptions& options) {
  cuda::make_context(device, options);
  TRINE_CHECK(false, "a context without CUDA");
  return nullptr;
}

int find_cuda_devices() {
  cuda::make_context(0);  // throws
  return 0;
}

std::vector<PeerLink> test_peer_links(const std::vector<std::string>&, bool) { return {}; }

}  // namespace trine
