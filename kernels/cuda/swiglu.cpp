#include "ops/swiglu.h"

#include "kernels/cuda/views.h"

namespace trine::cuda {

void add_swiglu(KernelTable& table, const ContextPtr& c) {
  table.add("swiglu", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      const TensorView& gate = call.inputs[0];
      swiglu(c->compute(), gate.dtype, gate.rows, gate.columns, in(gate), in(call.inputs[1]), out(call.outputs[0]));
    };
  });
  table.add("swiglu_grad", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      const TensorView& gate = call.inputs[0];
      swiglu_grad(c->compute(), gate.dtype, gate.rows, gate.columns, in(gate), in(call.inputs[1]),
                  in(call.inputs[2]), out(call.outputs[0]), out(call.outputs[1]));
    };
  });
}

}  // namespace trine::cuda
