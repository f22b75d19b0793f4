// N tokens, G heads of D numbers, `copies` of each.
#include "ops/repeat_heads.h"

#include "comm/reduce.h"
#include "kernels/cpu/cpu_kernels.h"

namespace trine::cpu {
namespace {

// The address of element [row, column].
std::byte* at(const TensorView& view, int64_t row, int64_t column) {
  return view.data + (row * view.row_stride + column) * static_cast<int64_t>(size_bytes(view.dtype));
}

// x [N, G D]   ->   y [N, G copies D]
void repeat(const CpuContext& c, int64_t head_dim, int64_t copies, const TensorView& x, const TensorView& y) {
  for (int64_t column = 0; column < y.columns; column += head_dim)
    c.simd->copy_rows(x.dtype, y.dtype, x.rows, head_dim,
                      {at(x, 0, column / head_dim / copies * head_dim), x.row_stride},
                      {at(y, 0, column), y.row_stride}, c.parallel);
}

// dy [N, G copies D]   ->   dx [N, G D]
void sum_copies(const CpuContext& c, int64_t head_dim, int64_t copies, const TensorView& dy, const TensorView& dx) {
#pragma omp parallel for schedule(static) num_threads(c.parallel.threads) if (c.parallel.threads > 1)
  for (int64_t row = 0; row < dx.rows; ++row) {
    std::vector<const void*> parts(static_cast<size_t>(copies));
    for (int64_t column = 0; column < dx.columns; column += head_dim) {
      for (int64_t i = 0; i < copies; ++i)
        parts[static_cast<size_t>(i)] = at(dy, row, column * copies + i * head_dim);
      reduce(ReduceOp::kSum, dx.dtype, parts, at(dx, row, column), head_dim);
    }
  }
}

}  // namespace

void add_repeat_heads(KernelTable& table, const ContextPtr& c) {
  table.add("repeat_heads", [c](const KernelRequest& request) -> Kernel {
    const auto& op = dynamic_cast<const RepeatHeads&>(request.op);
    return [c, head_dim = op.head_dim, copies = op.copies](const KernelCall& call) {
      repeat(*c, head_dim, copies, call.inputs[0], call.outputs[0]);
    };
  });
  table.add("repeat_heads_grad", [c](const KernelRequest& request) -> Kernel {
    const auto& op = dynamic_cast<const RepeatHeadsGrad&>(request.op);
    return [c, head_dim = op.head_dim, copies = op.copies](const KernelCall& call) {
      sum_copies(*c, head_dim, copies, call.inputs[0], call.outputs[0]);
    };
  });
}

}  // namespace trine::cpu
