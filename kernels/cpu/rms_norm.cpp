#include "ops/rms_norm.h"

#include "base/error.h"
#include "kernels/cpu/cpu_kernels.h"

namespace trine::cpu {

void add_rms_norm(KernelTable& table, const ContextPtr& c) {
  table.add("rms_norm", [c](const KernelRequest& request) -> Kernel {
    const float eps = dynamic_cast<const RmsNorm&>(request.op).eps;
    return [c, eps](const KernelCall& call) {
      const TensorView& x = call.inputs[0];
      c->simd->rms_norm(x.dtype, x.rows, x.columns, eps, in(x), call.inputs[1].data, out(call.outputs[0]),
                        call.outputs[1].as<float>(), c->parallel);
    };
  });
  table.add("add_rms_norm", [c](const KernelRequest& request) -> Kernel {
    const float eps = dynamic_cast<const AddRmsNorm&>(request.op).norm.eps;
    return [c, eps](const KernelCall& call) {
      const TensorView& a = call.inputs[0];
      c->simd->add_rms_norm(a.dtype, a.rows, a.columns, eps, in(a), in(call.inputs[1]), call.inputs[2].data,
                            out(call.outputs[0]), out(call.outputs[1]), call.outputs[2].as<float>(), c->parallel);
    };
  });
  const auto make_grad = [c](const KernelRequest& request, size_t dx, size_t dw) -> Kernel {
    const TensorView& view = request.inputs[0];
    const auto need = static_cast<int64_t>(c->simd->rms_norm_grad_scratch_bytes(view.rows, view.columns));
    TRINE_CHECK(need <= request.workspace_bytes, "{} needs {} bytes, the plan has {}", request.op.name(), need,
                request.workspace_bytes);
    request.uses_workspace(need);
    return [c, dx, dw](const KernelCall& call) {
      const TensorView& x = call.inputs[0];
      c->simd->rms_norm_grad(x.dtype, x.rows, x.columns, in(x), call.inputs[1].data,
                             call.inputs[2].as<const float>(), in(call.inputs[3]),
                             call.inputs.size() > 4 ? in(call.inputs[4]) : ConstRows{}, out(call.outputs[dx]),
                             call.outputs[dw].as<float>(), call.workspace.data(), c->parallel);
    };
  };
  table.add("rms_norm_grad", [=](const KernelRequest& request) { return make_grad(request, 0, 1); });
  table.add("rms_norm_grad_add", [=](const KernelRequest& request) { return make_grad(request, 1, 0); });
}

}  // namespace trine::cpu
