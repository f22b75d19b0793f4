// The CUDA backend as a Machine of tests/kernels/parity.h, on the CPU.
#pragma once

#include <algorithm>
#include <string>

#include "kernels/cuda/cuda_kernels.h"
#include "tests/cuda_on_cpu/block.h"
#include "tests/kernels/parity.h"

namespace trine::reference {

class CudaOnCpu final : public Machine {
 public:
  explicit CudaOnCpu(on_cpu::Order order) : order_(order) {}
  std::string name() const override {
    return order_ == on_cpu::Order::kForward ? "CUDA on the CPU" : "CUDA on the CPU, reversed";
  }
  Target target() const override { return {DeviceKind::kCuda, 1}; }
  const KernelTable& kernels() const override { return kernels_; }
  bool run(const Kernel& kernel, const KernelCall& call, std::span<Buffer>, int64_t workspace_bytes) override {
    if (std::ssize(workspace_.span()) != workspace_bytes) workspace_ = Buffer(workspace_bytes);
    std::ranges::fill(workspace_.span(), kSentinel);
    KernelCall with_workspace = call;
    with_workspace.workspace = workspace_.span();
    on_cpu::set_order(order_);
    kernel(with_workspace);
    return workspace_.guards_hold();
  }

 private:
  on_cpu::Order order_;
  Buffer workspace_{0};  // kept: that of a product has 64 MiB
  KernelTable kernels_ = cuda::make_cuda_kernels(cuda::make_context(0));
};

}  // namespace trine::reference
