// Stands for kernels/cuda/library.cpp: a cuBLASLt that accepts every problem and has an algorithm for none, so that
// all products run on the plain kernel.
#include <cublasLt.h>
#include <map>
#include <string_view>

#include "kernels/cuda/context.h"
#include "kernels/cuda/library.h"

namespace trine::cuda {
namespace {

template <typename... Arguments>
cublasStatus_t accept(Arguments...) {
  return CUBLAS_STATUS_SUCCESS;
}
template <typename Handle, typename... Arguments>
cublasStatus_t create(Handle* handle, Arguments...) {
  static int something;
  *handle = reinterpret_cast<Handle>(&something);
  return CUBLAS_STATUS_SUCCESS;
}
template <typename... Arguments>
cublasStatus_t refuse(Arguments...) {
  return CUBLAS_STATUS_NOT_SUPPORTED;
}

size_t version() { return 0; }

template <typename Function>
void* address(Function* function) {
  return reinterpret_cast<void*>(function);
}

}  // namespace

Library::Library(std::string name) : name_(std::move(name)) {}

void* Library::find(const char* name) const {
#define TRINE_LT(name, stand_in) \
  { #name, address < std::remove_pointer_t < decltype(&name)>>(stand_in) }
  static const std::map<std::string_view, void*> functions = {
      TRINE_LT(cublasLtCreate, create),
      TRINE_LT(cublasLtDestroy, accept),
      {"cublasLtGetVersion", reinterpret_cast<void*>(version)},
      TRINE_LT(cublasLtMatmul, refuse),
      TRINE_LT(cublasLtMatmulAlgoGetHeuristic, refuse),
      TRINE_LT(cublasLtMatmulDescCreate, create),
      TRINE_LT(cublasLtMatmulDescDestroy, accept),
      TRINE_LT(cublasLtMatmulDescSetAttribute, accept),
      TRINE_LT(cublasLtMatmulPreferenceCreate, create),
      TRINE_LT(cublasLtMatmulPreferenceDestroy, accept),
      TRINE_LT(cublasLtMatmulPreferenceSetAttribute, accept),
      TRINE_LT(cublasLtMatrixLayoutCreate, create),
      TRINE_LT(cublasLtMatrixLayoutDestroy, accept),
  };
#undef TRINE_LT
  const auto found = functions.find(name);
  if (found == functions.end()) throw DeviceError(fmt::format("[cuda on cpu] {} has no {}", name_, name));
  return found->second;
}

}  // namespace trine::cuda
