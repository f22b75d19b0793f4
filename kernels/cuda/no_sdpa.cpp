// Stands for sdpa.cpp where NVIDIA's frontend of cuDNN was not found (kernels/CMakeLists.txt): attention runs on
// the kernels of device/attention.cu.
#include "kernels/cuda/sdpa.h"

namespace trine::cuda {
namespace {

const Sdpa::Answer& none() {
  static const Sdpa::Answer answer{
      nullptr,
      "this program was built without cuDNN's headers; scripts/cudnn_frontend.sh brings them, then build again"};
  return answer;
}

}  // namespace

struct Sdpa::Handle {};

Sdpa::Sdpa(bool deterministic) : deterministic_(deterministic) {}
Sdpa::~Sdpa() = default;

const Sdpa::Answer& Sdpa::forward(DType, const AttentionShape&, std::span<const int64_t>, int64_t) {
  return none();
}
const Sdpa::Answer& Sdpa::backward(DType, const AttentionShape&, std::span<const int64_t>, int64_t) {
  return none();
}

}  // namespace trine::cuda
