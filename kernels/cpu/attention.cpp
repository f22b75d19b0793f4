#include "ops/attention.h"

#include "base/error.h"
#include "kernels/cpu/cpu_kernels.h"

namespace trine::cpu {
namespace {

AttentionShape shape_of(const TensorView& q, const TensorView& k, int64_t seq, int64_t head_dim) {
  return {q.rows / seq, seq, static_cast<int>(q.columns / head_dim), static_cast<int>(k.columns / head_dim),
          static_cast<int>(head_dim)};
}

}  // namespace

void add_attention(KernelTable& table, const ContextPtr& c) {
  table.add("attention", [c](const KernelRequest& request) -> Kernel {
    const auto& op = dynamic_cast<const Attention&>(request.op);
    const AttentionShape shape = shape_of(request.inputs[0], request.inputs[1], op.seq, op.head_dim);
    const auto need = static_cast<int64_t>(c->attention->attention_forward_scratch_bytes(shape, c->parallel));
    TRINE_CHECK(need <= request.workspace_bytes, "attention needs {} bytes, the plan has {}", need,
                request.workspace_bytes);
    request.uses_workspace(need);
    return [c, shape](const KernelCall& call) {
      const TensorView &q = call.inputs[0], &k = call.inputs[1], &v = call.inputs[2];
      c->attention->attention_forward(q.dtype, shape, in(q), in(k), in(v), out(call.outputs[0]),
                                      call.outputs[1].as<float>(), call.workspace.data(), c->parallel);
    };
  });
  table.add("attention_grad", [c](const KernelRequest& request) -> Kernel {
    const auto& op = dynamic_cast<const AttentionGrad&>(request.op);
    const AttentionShape shape = shape_of(request.inputs[0], request.inputs[1], op.seq, op.head_dim);
    const auto need = static_cast<int64_t>(c->attention->attention_backward_scratch_bytes(shape, c->parallel));
    TRINE_CHECK(need <= request.workspace_bytes, "attention_grad needs {} bytes, the plan has {}", need,
                request.workspace_bytes);
    request.uses_workspace(need);
    return [c, shape](const KernelCall& call) {
      const auto& i = call.inputs;  // q, k, v, o, lse, do
      const auto& o = call.outputs;
      c->attention->attention_backward(i[0].dtype, shape, in(i[0]), in(i[1]), in(i[2]), in(i[3]),
                                       i[4].as<const float>(), in(i[5]), out(o[0]), out(o[1]), out(o[2]),
                                       call.workspace.data(), c->parallel);
    };
  });
}

}  // namespace trine::cpu
