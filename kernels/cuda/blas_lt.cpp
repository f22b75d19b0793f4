#include "kernels/cuda/blas_lt.h"

namespace trine::cuda {
namespace {

const char* name(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "invalid value";
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return "not on this GPU";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "execution failed";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "not supported";
    default:
      return "error";
  }
}

#define TRINE_TEXT_OF(x) #x
#define TRINE_TEXT(x) TRINE_TEXT_OF(x)
constexpr const char* kLibrary = "libcublasLt.so." TRINE_TEXT(CUBLAS_VER_MAJOR);

}  // namespace

void check(cublasStatus_t status, const char* call, Place place) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const std::string message = fmt::format("[cublasLt] {} ({}) from {} at {}:{}", name(status),
                                          static_cast<int>(status), call, place.file_name(), place.line());
  if (status == CUBLAS_STATUS_ALLOC_FAILED) throw OutOfMemoryError(message);
  throw DeviceError(message);
}

BlasLt::BlasLt() : library_(kLibrary) {
  cublasLtHandle_t handle = nullptr;
  TRINE_CUDA(Create(&handle));
  handle_ = {handle, Destroy};
}

}  // namespace trine::cuda
