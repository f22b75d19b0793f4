// Stands for the whole folder where nvcc was not found (kernels/CMakeLists.txt).
#include "base/error.h"
#include "kernels/cuda/cuda_kernels.h"

namespace trine::cuda {

Devices find_devices() { return {0, "this program was built without CUDA"}; }

ContextPtr make_context(int, const KernelOptions&) {
  throw ConfigError(
      "[cuda] this program was built without CUDA. Build it where nvcc is found, or take --device cpu.");
}

KernelTable make_cuda_kernels(const ContextPtr&) { return {}; }

int64_t count_non_finite(CudaContext&, const TensorView&) {
  TRINE_CHECK(false, "there is no context without CUDA");
  return 0;
}

}  // namespace trine::cuda
