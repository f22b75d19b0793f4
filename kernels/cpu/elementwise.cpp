#include "ops/elementwise.h"

#include "kernels/cpu/cpu_kernels.h"

namespace trine::cpu {

void add_elementwise(KernelTable& table, const ContextPtr& c) {
  table.add("add", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      const TensorView& y = call.outputs[0];
      c->simd->add(y.dtype, y.rows, y.columns, in(call.inputs[0]), in(call.inputs[1]), out(y), c->parallel);
    };
  });
  table.add("cast", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      const TensorView &x = call.inputs[0], &y = call.outputs[0];
      c->simd->copy_rows(x.dtype, y.dtype, x.rows, x.columns, in(x), out(y), c->parallel);
    };
  });
  table.add("accumulate", [c](const KernelRequest& request) -> Kernel {
    const bool overwrites = dynamic_cast<const Accumulate&>(request.op).overwrites;
    return [c, overwrites](const KernelCall& call) {
      c->simd->accumulate(call.inputs[0].num_elements(), call.outputs[0].as<float>(),
                          call.inputs[0].as<const float>(), overwrites && call.first_write, c->parallel);
    };
  });
}

}  // namespace trine::cpu
