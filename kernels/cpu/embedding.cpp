#include "ops/embedding.h"

#include "kernels/cpu/cpu_kernels.h"

namespace trine::cpu {

// Split over the vocabulary, all ranks but the last hold as many rows, so a rank's first row follows from its own
// count.
void add_embedding(KernelTable& table, const ContextPtr& c) {
  table.add("embedding", [c](const KernelRequest& request) -> Kernel {
    const int64_t first = request.coordinate.tp * request.inputs[1].rows;
    return [c, first](const KernelCall& call) {
      const TensorView &weights = call.inputs[1], &y = call.outputs[0];
      c->simd->embedding(y.dtype, call.inputs[0].as<const int32_t>(), y.rows, y.columns, first, weights.rows,
                         in(weights), out(y), c->parallel);
    };
  });
  table.add("embedding_grad", [c](const KernelRequest& request) -> Kernel {
    const int64_t first = request.coordinate.tp * request.outputs[0].rows;
    return [c, first](const KernelCall& call) {
      const TensorView &dy = call.inputs[1], &sum = call.outputs[0];
      c->simd->embedding_grad(dy.dtype, call.inputs[0].as<const int32_t>(), dy.rows, dy.columns, first, sum.rows,
                              in(dy), sum.as<float>(), call.first_write, c->parallel);
    };
  });
}

}  // namespace trine::cpu
