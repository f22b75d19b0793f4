#include "ops/cross_entropy.h"

#include "kernels/cuda/views.h"

namespace trine::cuda {
namespace {

// Where this rank's columns of the vocabulary begin.
int64_t first_column(const KernelRequest& request) {
  if (request.mesh.tp == 1) return 0;
  return split_begin(request.input_types[0].shape[1], request.mesh.tp, request.coordinate.tp);
}

}  // namespace

void add_cross_entropy(KernelTable& table, const ContextPtr& c) {
  table.add("vocab_stats", [c](const KernelRequest& request) -> Kernel {
    return [c, first = first_column(request)](const KernelCall& call) {
      const TensorView& logits = call.inputs[0];
      vocab_stats(c->compute(), logits.dtype, logits.rows, logits.columns, in(logits),
                  call.inputs[1].as<const int32_t>(), first, call.outputs[0].as<float>());
    };
  });
  table.add("vocab_stats_grad", [c](const KernelRequest& request) -> Kernel {
    return [c, first = first_column(request)](const KernelCall& call) {
      const TensorView& logits = call.inputs[0];
      vocab_stats_grad(c->compute(), logits.dtype, logits.rows, logits.columns, in(logits),
                       call.inputs[2].as<const float>(), call.inputs[3].as<const float>(),
                       call.inputs[1].as<const int32_t>(), first, out(call.outputs[0]));
    };
  });
  table.add("cross_entropy", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      const int64_t tokens = call.inputs[1].num_elements();
      cross_entropy(c->compute(), call.inputs[0].rows / tokens, tokens, call.inputs[0].as<const float>(),
                    call.inputs[1].as<const int32_t>(), call.outputs[0].as<float>());
    };
  });
  table.add("cross_entropy_grad", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      const int64_t tokens = call.inputs[1].num_elements();
      cross_entropy_grad(c->compute(), call.inputs[0].rows / tokens, tokens, call.inputs[0].as<const float>(),
                         call.inputs[1].as<const int32_t>(), call.inputs[2].as<const float>(),
                         call.outputs[0].as<float>());
    };
  });
}

}  // namespace trine::cuda
