#include "ops/cached_attention.h"

namespace trine {

Types CachedAttention::infer(TypeSpan in) const {
  require(in[0].shape.num_dims() == 2 && in[0].shape[0] <= max_seq && in[0].shape[1] % head_dim == 0,
          "q {} must be [tokens <= {}, heads * {}]", in[0], max_seq, head_dim);
  require(in[1].shape == in[2].shape && in[1].shape[0] == in[0].shape[0],
          "k {} and v {} must be alike, with q's rows", in[1], in[2]);
  require(in[1].shape[1] % head_dim == 0 && in[0].shape[1] % in[1].shape[1] == 0,
          "q {} must have a multiple of the heads of k {}", in[0], in[1]);
  require(in[3].dtype == DType::kI32 && in[3].shape == Shape{1}, "the position must be i32[1], got {}", in[3]);
  const TensorType cache{in[1].dtype, {max_seq, in[1].shape[1]}};
  return {{in[0].dtype, in[0].shape}, cache, cache};
}

// Of a full cache.
Cost CachedAttention::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  Cost cost = streaming_cost(in, out.first(1), mesh, 0);
  cost.flops = 4 * static_cast<double>(local_shape(in[0], mesh).num_elements()) * static_cast<double>(max_seq);
  cost.bytes_read += local_bytes(out[1], mesh) + local_bytes(out[2], mesh);
  cost.bytes_written += local_bytes(in[1], mesh) + local_bytes(in[2], mesh);
  return cost;
}

void CachedAttention::describe(Attributes& a) const {
  a("max_seq", max_seq);
  a("head_dim", head_dim);
}

// Tiles of 64 queries and keys and f32 sums, of the query heads of one kv head per thread; and the log-sum-exps
// that attention gives and nobody reads.
int64_t CachedAttention::workspace_bytes(TypeSpan in, TypeSpan, const Mesh& mesh, const Target& target) const {
  if (target.device == DeviceKind::kCuda) return 0;
  const Shape q = local_shape(in[0], mesh), k = local_shape(in[1], mesh);
  const int64_t group = q[1] / k[1], tile = round_up(head_dim, 16) * 64 * 4;
  return target.threads * ((4 + 2 * group) * tile + 2 * 64 * 64 * 4 + group * 2 * 64 * 4) +
         round_up(q[0] * (q[1] / head_dim) * 4, 64);
}

}  // namespace trine
