// Stands for sdpa.cpp where NVIDIA's frontend of cuDNN was not found (kernels/CMakeLists.txt): attention runs on
// the kernels of device/attention.cu.
#include "kernels/cuda/sdpa.h"

namespace trine::cuda {

struct Sdpa::Handle {};

Sdpa::Sdpa() = default;
Sdpa::~Sdpa() = default;

SdpaGraph* Sdpa::forward(DType, const AttentionShape&, std::span<const int64_t>, int64_t) { return nullptr; }
SdpaGraph* Sdpa::backward(DType, const AttentionShape&, std::span<const int64_t>, int64_t) { return nullptr; }

}  // namespace trine::cuda
