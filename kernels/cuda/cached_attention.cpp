#include "ops/cached_attention.h"

#include "kernels/cuda/views.h"

namespace trine::cuda {

void add_cached_attention(KernelTable& table, const ContextPtr& c) {
  table.add("cached_attention", [c](const KernelRequest& request) -> Kernel {
    const auto& op = dynamic_cast<const CachedAttention&>(request.op);
    return [c, head_dim = static_cast<int>(op.head_dim), max_seq = op.max_seq](const KernelCall& call) {
      const auto& i = call.inputs;   // q, k, v, position
      const auto& o = call.outputs;  // o, keys, values
      cached_attention(c->compute(), i[0].dtype, i[0].rows, static_cast<int>(i[0].columns / head_dim),
                       static_cast<int>(i[1].columns / head_dim), head_dim, max_seq, in(i[0]), in(i[1]), in(i[2]),
                       i[3].as<const int32_t>(), out(o[1]), out(o[2]), out(o[0]));
    };
  });
}

}  // namespace trine::cuda
