#include "ops/rms_norm.h"

#include "kernels/cuda/views.h"

namespace trine::cuda {

void add_rms_norm(KernelTable& table, const ContextPtr& c) {
  table.add("rms_norm", [c](const KernelRequest& request) -> Kernel {
    const float eps = dynamic_cast<const RmsNorm&>(request.op).eps;
    return [c, eps](const KernelCall& call) {
      const TensorView& x = call.inputs[0];
      rms_norm(c->compute(), x.dtype, x.rows, x.columns, eps, in(x), call.inputs[1].data, out(call.outputs[0]),
               call.outputs[1].as<float>());
    };
  });
  table.add("rms_norm_grad", [c](const KernelRequest& request) -> Kernel {
    const TensorView& view = request.inputs[0];
    const auto need = static_cast<int64_t>(rms_norm_grad_scratch_bytes(view.rows, view.columns));
    TRINE_CHECK(need <= request.workspace_bytes, "rms_norm_grad needs {} bytes, the plan has {}", need,
                request.workspace_bytes);
    return [c](const KernelCall& call) {
      const TensorView& x = call.inputs[0];
      rms_norm_grad(c->compute(), x.dtype, x.rows, x.columns, in(x), call.inputs[1].data,
                    call.inputs[2].as<const float>(), in(call.inputs[3]), out(call.outputs[0]),
                    call.outputs[1].as<float>(), call.workspace.data());
    };
  });
}

}  // namespace trine::cuda
