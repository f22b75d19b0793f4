#include "ops/embedding.h"

#include "kernels/cuda/views.h"

namespace trine::cuda {
namespace {

// The first row of this rank's part of a table [V, D].
int64_t first_row(const KernelRequest& request, TypeSpan types, size_t operand) {
  if (request.mesh.tp == 1) return 0;
  return split_begin(types[operand].shape[0], request.mesh.tp, request.coordinate.tp);
}

}  // namespace

void add_embedding(KernelTable& table, const ContextPtr& c) {
  table.add("embedding", [c](const KernelRequest& request) -> Kernel {
    const int64_t first = first_row(request, request.input_types, 1);
    return [c, first](const KernelCall& call) {
      const TensorView &weights = call.inputs[1], &y = call.outputs[0];
      embedding(c->compute(), y.dtype, call.inputs[0].as<const int32_t>(), y.rows, y.columns, first, weights.rows,
                in(weights), out(y));
    };
  });
  table.add("embedding_grad", [c](const KernelRequest& request) -> Kernel {
    const int64_t first = first_row(request, request.output_types, 0);
    return [c, first](const KernelCall& call) {
      const TensorView &dy = call.inputs[1], &sum = call.outputs[0];
      if (call.first_write)
        TRINE_CUDA(
            cudaMemsetAsync(sum.data, 0, static_cast<size_t>(sum.num_elements()) * sizeof(float), c->compute()));
      embedding_grad(c->compute(), dy.dtype, call.inputs[0].as<const int32_t>(), dy.rows, dy.columns, first,
                     sum.rows, in(dy), sum.as<float>());
    };
  });
}

}  // namespace trine::cuda
