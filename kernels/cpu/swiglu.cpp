#include "ops/swiglu.h"

#include "kernels/cpu/cpu_kernels.h"

namespace trine::cpu {

void add_swiglu(KernelTable& table, const ContextPtr& c) {
  table.add("swiglu", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      const TensorView& gate = call.inputs[0];
      c->simd->swiglu(gate.dtype, gate.rows, gate.columns, in(gate), in(call.inputs[1]), out(call.outputs[0]),
                      c->parallel);
    };
  });
  table.add("swiglu_grad", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      const TensorView& gate = call.inputs[0];
      c->simd->swiglu_grad(gate.dtype, gate.rows, gate.columns, in(gate), in(call.inputs[1]), in(call.inputs[2]),
                           out(call.outputs[0]), out(call.outputs[1]), c->parallel);
    };
  });
}

}  // namespace trine::cpu
