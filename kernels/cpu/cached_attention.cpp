#include "ops/cached_attention.h"

#include <cstring>

#include "base/error.h"
#include "kernels/cpu/cpu_kernels.h"

namespace trine::cpu {
namespace {

constexpr int64_t kTiledFrom = 8;  // queries: below, a tile of 64 would be mostly empty

void append(const TensorView& rows, const TensorView& cache, int64_t position) {
  const auto item = static_cast<int64_t>(size_bytes(rows.dtype));
  for (int64_t row = 0; row < rows.rows; ++row)
    std::memcpy(cache.data + (position + row) * cache.row_stride * item, rows.data + row * rows.row_stride * item,
                static_cast<size_t>(rows.columns * item));
}

}  // namespace

void add_cached_attention(KernelTable& table, const ContextPtr& c) {
  table.add("cached_attention", [c](const KernelRequest& request) -> Kernel {
    const auto& op = dynamic_cast<const CachedAttention&>(request.op);
    const TensorView &q = request.inputs[0], &k = request.inputs[1];
    const AttentionShape block{1, q.rows, static_cast<int>(q.columns / op.head_dim),
                               static_cast<int>(k.columns / op.head_dim), static_cast<int>(op.head_dim)};
    const auto lse_bytes = round_up(q.rows * block.heads * 4, 64);
    const auto need =
        static_cast<int64_t>(std::max(c->attention->attention_forward_scratch_bytes(block, c->parallel),
                                      c->simd->attention_rows_scratch_bytes(block, c->parallel))) +
        lse_bytes;
    TRINE_CHECK(need <= request.workspace_bytes, "cached_attention needs {} bytes, the plan has {}", need,
                request.workspace_bytes);
    request.uses_workspace(need);
    return [c, block, lse_bytes, max_seq = op.max_seq](const KernelCall& call) {
      const auto& i = call.inputs;   // q, k, v, position
      const auto& o = call.outputs;  // o, keys, values
      AttentionShape shape = block;
      shape.position = *i[3].as<const int32_t>();
      TRINE_CHECK(shape.position >= 0 && shape.position + shape.seq <= max_seq, "tokens {} to {} of a cache of {}",
                  shape.position, shape.position + shape.seq, max_seq);
      append(i[1], o[1], shape.position);
      append(i[2], o[2], shape.position);
      std::byte* const scratch = call.workspace.data() + lse_bytes;
      if (shape.seq >= kTiledFrom && shape.position % 64 == 0)
        c->attention->attention_forward(i[0].dtype, shape, in(i[0]), in(o[1]), in(o[2]), out(o[0]),
                                        reinterpret_cast<float*>(call.workspace.data()), scratch, c->parallel);
      else
        c->simd->attention_rows(i[0].dtype, shape, in(i[0]), in(o[1]), in(o[2]), out(o[0]), scratch, c->parallel);
    };
  });
}

}  // namespace trine::cpu
