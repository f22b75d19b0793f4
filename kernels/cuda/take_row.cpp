#include "ops/take_row.h"

#include "kernels/cuda/views.h"

namespace trine::cuda {

void add_take_row(KernelTable& table, const ContextPtr& c) {
  table.add("take_row", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      const TensorView &x = call.inputs[0], &y = call.outputs[0];
      take_row(c->compute(), x.dtype, x.rows, y.columns, in(x), call.inputs[1].as<const int32_t>(), y.data);
    };
  });
}

}  // namespace trine::cuda
