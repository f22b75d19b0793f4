#include "ops/elementwise.h"

#include "kernels/cuda/views.h"

namespace trine::cuda {

void add_elementwise(KernelTable& table, const ContextPtr& c) {
  table.add("add", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      const TensorView& y = call.outputs[0];
      add(c->compute(), y.dtype, y.rows, y.columns, in(call.inputs[0]), in(call.inputs[1]), out(y));
    };
  });
  table.add("cast", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      const TensorView &x = call.inputs[0], &y = call.outputs[0];
      copy_rows(c->compute(), x.dtype, y.dtype, x.rows, x.columns, in(x), out(y));
    };
  });
  table.add("accumulate", [c](const KernelRequest& request) -> Kernel {
    const bool overwrites = dynamic_cast<const Accumulate&>(request.op).overwrites;
    return [c, overwrites](const KernelCall& call) {
      const int64_t n = call.inputs[0].num_elements();
      float* const sum = call.outputs[0].as<float>();
      const float* const x = call.inputs[0].as<const float>();
      if (overwrites && call.first_write)
        TRINE_CUDA(cudaMemcpyAsync(sum, x, static_cast<size_t>(n) * sizeof(float), cudaMemcpyDeviceToDevice,
                                   c->compute()));
      else
        accumulate(c->compute(), n, sum, x);
    };
  });
}

}  // namespace trine::cuda
