#include "kernels/cuda/cuda_kernels.h"

#include "kernels/cuda/views.h"

namespace trine::cuda {

KernelTable make_cuda_kernels(const ContextPtr& context) {
  KernelTable table;
  for (auto* add : {add_attention, add_batch, add_cached_attention, add_collective, add_cross_entropy,
                    add_elementwise, add_embedding, add_linear, add_optimizer, add_repeat_heads, add_rms_norm,
                    add_rope, add_swiglu, add_take_row})
    add(table, context);
  return table;
}

int64_t count_non_finite(CudaContext& context, const TensorView& view) {
  if (!is_float(view.dtype)) return 0;
  const cudaStream_t stream = context.compute();
  const DeviceBuffer counter(sizeof(unsigned long long));
  TRINE_CUDA(cudaMemsetAsync(counter.data(), 0, sizeof(unsigned long long), stream));
  count_non_finite(stream, view.dtype, view.rows, view.columns, in(view),
                   reinterpret_cast<unsigned long long*>(counter.data()));
  unsigned long long count = 0;
  TRINE_CUDA(cudaMemcpyAsync(&count, counter.data(), sizeof count, cudaMemcpyDeviceToHost, stream));
  TRINE_CUDA(cudaStreamSynchronize(stream));
  return static_cast<int64_t>(count);
}

}  // namespace trine::cuda
