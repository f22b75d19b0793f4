// cuBLASLt, opened at run time: the functions that products use, and the handle.
#pragma once

#include <cublasLt.h>

#include "kernels/cuda/context.h"
#include "kernels/cuda/library.h"

namespace trine::cuda {

void check(cublasStatus_t status, const char* call, Place place = Place::current());

class BlasLt {
  Library library_;

 public:
  BlasLt();
  cublasLtHandle_t handle() const { return handle_.get(); }

#define TRINE_LT(name) \
  const decltype(&cublasLt##name) name = library_.function<decltype(&cublasLt##name)>("cublasLt" #name)
  TRINE_LT(Create);
  TRINE_LT(Destroy);
  TRINE_LT(GetVersion);
  TRINE_LT(Matmul);
  TRINE_LT(MatmulAlgoGetHeuristic);
  TRINE_LT(MatmulDescCreate);
  TRINE_LT(MatmulDescDestroy);
  TRINE_LT(MatmulDescSetAttribute);
  TRINE_LT(MatrixLayoutCreate);
  TRINE_LT(MatrixLayoutDestroy);
  TRINE_LT(MatmulPreferenceCreate);
  TRINE_LT(MatmulPreferenceDestroy);
  TRINE_LT(MatmulPreferenceSetAttribute);
#undef TRINE_LT

 private:
  std::shared_ptr<cublasLtContext> handle_;
};

}  // namespace trine::cuda
