#include "ops/rope.h"

#include <cmath>

#include "base/error.h"
#include "kernels/cpu/cpu_kernels.h"

namespace trine::cpu {
namespace {

std::shared_ptr<const RopeTable> table_for(CpuContext& context, const std::vector<double>& frequencies,
                                           int64_t seq) {
  std::shared_ptr<const RopeTable>& entry = context.rope_tables[{&frequencies, seq}];
  if (entry) return entry;
  auto table = std::make_shared<RopeTable>();
  for (int64_t position = 0; position < seq; ++position) {
    for (double frequency : frequencies) {
      const double angle = static_cast<double>(position) * frequency;
      table->cos.push_back(static_cast<float>(std::cos(angle)));
      table->sin.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  return entry = table;
}

}  // namespace

void add_rope(KernelTable& table, const ContextPtr& c) {
  const auto factory = [c](const KernelRequest& request) -> Kernel {
    const auto& op = dynamic_cast<const Rope&>(request.op);
    return [c, angles = table_for(*c, *op.inverse_frequencies, op.seq), seq = op.seq, head_dim = op.head_dim,
            inverse = op.inverse, keep = op.inverse_frequencies](const KernelCall& call) {
      const TensorView& x = call.inputs[0];
      c->simd->rope(x.dtype, x.rows, static_cast<int>(x.columns / head_dim), static_cast<int>(head_dim), seq, in(x),
                    angles->cos.data(), angles->sin.data(), inverse, out(call.outputs[0]), c->parallel);
    };
  };
  table.add("rope", factory);
  table.add("rope_grad", factory);
  table.add("rope_at", [c](const KernelRequest& request) -> Kernel {
    const auto& op = dynamic_cast<const RopeAt&>(request.op);
    return [c, angles = table_for(*c, *op.inverse_frequencies, op.max_seq), max_seq = op.max_seq,
            head_dim = op.head_dim, keep = op.inverse_frequencies](const KernelCall& call) {
      const TensorView& x = call.inputs[0];
      const int64_t position = *call.inputs[1].as<const int32_t>(), first = position * (head_dim / 2);
      TRINE_CHECK(position >= 0 && position + x.rows <= max_seq, "tokens {} to {} of {}", position,
                  position + x.rows, max_seq);
      c->simd->rope(x.dtype, x.rows, static_cast<int>(x.columns / head_dim), static_cast<int>(head_dim), x.rows,
                    in(x), angles->cos.data() + first, angles->sin.data() + first, false, out(call.outputs[0]),
                    c->parallel);
    };
  });
}

}  // namespace trine::cpu
