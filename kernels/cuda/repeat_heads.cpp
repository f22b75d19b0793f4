#include "ops/repeat_heads.h"

#include "kernels/cuda/views.h"

namespace trine::cuda {

void add_repeat_heads(KernelTable& table, const ContextPtr& c) {
  table.add("repeat_heads", [c](const KernelRequest& request) -> Kernel {
    const auto& op = dynamic_cast<const RepeatHeads&>(request.op);
    return [c, head_dim = op.head_dim, copies = op.copies](const KernelCall& call) {
      const TensorView& x = call.inputs[0];
      repeat_heads(c->compute(), x.dtype, x.rows, x.columns / head_dim, copies, head_dim, in(x),
                   out(call.outputs[0]));
    };
  });
  table.add("repeat_heads_grad", [c](const KernelRequest& request) -> Kernel {
    const auto& op = dynamic_cast<const RepeatHeadsGrad&>(request.op);
    return [c, head_dim = op.head_dim, copies = op.copies](const KernelCall& call) {
      const TensorView& dx = call.outputs[0];
      repeat_heads_grad(c->compute(), dx.dtype, dx.rows, dx.columns / head_dim, copies, head_dim,
                        in(call.inputs[0]), out(dx));
    };
  });
}

}  // namespace trine::cuda
