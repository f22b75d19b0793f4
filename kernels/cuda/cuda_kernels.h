// The CUDA backend's kernels: matrix products by cuBLASLt, fused attention by cuDNN, the rest by the functions of
// device/. A kernel only enqueues on the compute stream of its context: it neither waits nor reads device memory.
// Without nvcc, no_cuda.cpp stands for all of this folder: no devices, an empty table.
#pragma once

#include <memory>
#include <string>

#include "base/device.h"
#include "kernels/kernel.h"

namespace trine::cuda {

// A device with its streams and library handles (context.h, which needs CUDA's headers).
struct CudaContext;
using ContextPtr = std::shared_ptr<CudaContext>;

struct Devices {
  int count = 0;
  std::string why_none;  // "no CUDA device: ..."
};
Devices find_devices();

// ConfigError if there is no such device.
ContextPtr make_context(int device, const KernelOptions& options = {});

// Builds the table without touching a device, so that a null context will do as long as no kernel is made. Kernels
// keep their context alive.
KernelTable make_cuda_kernels(const ContextPtr& context);

// How many elements of a float operand are infinite or NaN. Waits for the compute stream.
int64_t count_non_finite(CudaContext& context, const TensorView& view);

// One file per op adds its kernels.
void add_attention(KernelTable& table, const ContextPtr& context);
void add_batch(KernelTable& table, const ContextPtr& context);
void add_cached_attention(KernelTable& table, const ContextPtr& context);
void add_collective(KernelTable& table, const ContextPtr& context);
void add_cross_entropy(KernelTable& table, const ContextPtr& context);
void add_elementwise(KernelTable& table, const ContextPtr& context);
void add_embedding(KernelTable& table, const ContextPtr& context);
void add_linear(KernelTable& table, const ContextPtr& context);
void add_optimizer(KernelTable& table, const ContextPtr& context);
void add_repeat_heads(KernelTable& table, const ContextPtr& context);
void add_rms_norm(KernelTable& table, const ContextPtr& context);
void add_rope(KernelTable& table, const ContextPtr& context);
void add_swiglu(KernelTable& table, const ContextPtr& context);
void add_take_row(KernelTable& table, const ContextPtr& context);

}  // namespace trine::cuda
