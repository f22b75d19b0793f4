#include "ops/attention.h"

#include <algorithm>

#include "graph/builder.h"

namespace trine {
namespace {

// Multiply-adds of one [seq, seq] x head_dim product over the causal half, all heads and sequences, times two.
double causal_product_flops(const Shape& q, int64_t seq) {
  return static_cast<double>(q.num_elements()) * static_cast<double>(seq + 1);
}

// Tiles of scores, packed k and v, and f32 accumulators of one (sequence, kv head) per thread. Of a short sequence
// with large heads the seven tiles of queries weigh more than what is left over for them.
int64_t tile_bytes(int64_t seq, int64_t head_dim, int threads) {
  constexpr int64_t kTile = 64;
  const int64_t padded_seq = round_up(seq, kTile), padded_dim = round_up(head_dim, 64);
  const int64_t sequence = padded_seq * padded_dim * 4, tile = kTile * padded_dim * 4, scores = kTile * kTile * 4;
  return threads * std::max(8 * sequence + kTile * padded_seq * 4 * 2 + (int64_t{256} << 10),
                            5 * sequence + 7 * tile + 5 * scores + 2 * kTile * 4);
}

// On a GPU: the log-sum-exps in the library's order.
int64_t statistics_bytes(const Shape& q, int64_t head_dim) {
  return round_up(q.num_elements() / head_dim * 4, 256);
}

// cuDNN's deterministic backward keeps the scores of the heads at hand in the compute type, and the gradients of k
// and v of each query head; the kernel goes through the heads in parts, such that scores stay below a limit, which
// the scores of one kv head may exceed (kernels/cuda/attention.cpp).
int64_t cuda_grad_workspace(const Shape& q, const Shape& k, int64_t seq, int64_t head_dim) {
  constexpr int64_t kSlack = int64_t{16} << 20;
  const int64_t one_score = round_up(seq, 64) * round_up(seq, 128) * 2, heads = q.num_elements() / head_dim / seq,
                group = q[1] / k[1];
  return std::max(std::min(heads * one_score, kAttentionScoreLimit), group * one_score) + 3 * q.num_elements() * 4 +
         2 * statistics_bytes(q, head_dim) + kSlack;
}

constexpr int64_t kCudaForwardScratch = int64_t{16} << 20;

}  // namespace

Types Attention::infer(TypeSpan in) const {
  require(in[0].shape.num_dims() == 2 && in[0].shape[0] % seq == 0 && in[0].shape[1] % head_dim == 0,
          "q {} must be [batch * {}, heads * {}]", in[0], seq, head_dim);
  require(in[1].shape == in[2].shape && in[1].shape[0] == in[0].shape[0],
          "k {} and v {} must be alike, with q's rows", in[1], in[2]);
  require(in[1].shape[1] % head_dim == 0 && in[0].shape[1] % in[1].shape[1] == 0,
          "q {} must have a multiple of the heads of k {}", in[0], in[1]);
  return {{in[0].dtype, in[0].shape}, {DType::kF32, {in[0].shape[0], in[0].shape[1] / head_dim}}};
}

std::vector<ValueId> Attention::vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const {
  return b.add_many(AttentionGrad(seq, head_dim),
                    {node.inputs[0], node.inputs[1], node.inputs[2], node.outputs[0], node.outputs[1], dy[0]});
}

Cost Attention::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  Cost cost = streaming_cost(in, out, mesh, 0);
  cost.flops = 2 * causal_product_flops(local_shape(in[0], mesh), seq);  // q k^T, p v
  return cost;
}

void Attention::describe(Attributes& a) const {
  a("seq", seq);
  a("head_dim", head_dim);
}

int64_t Attention::workspace_bytes(TypeSpan in, TypeSpan, const Mesh& mesh, const Target& target) const {
  if (target.device == DeviceKind::kCuda)
    return statistics_bytes(local_shape(in[0], mesh), head_dim) + kCudaForwardScratch;
  return tile_bytes(seq, head_dim, target.threads);
}

Types AttentionGrad::infer(TypeSpan in) const {
  require(in[5].shape == in[0].shape && in[3].shape == in[0].shape, "o {} and do {} must be of q's shape {}", in[3],
          in[5], in[0]);
  return {{in[0].dtype, in[0].shape}, {in[1].dtype, in[1].shape}, {in[2].dtype, in[2].shape}};
}

Cost AttentionGrad::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  Cost cost = streaming_cost(in, out, mesh, 0);
  cost.flops = 5 * causal_product_flops(local_shape(in[0], mesh), seq);  // q k^T, do v^T, ds k, ds^T q, p^T do
  return cost;
}

void AttentionGrad::describe(Attributes& a) const {
  a("seq", seq);
  a("head_dim", head_dim);
}

int64_t AttentionGrad::workspace_bytes(TypeSpan in, TypeSpan, const Mesh& mesh, const Target& target) const {
  if (target.device == DeviceKind::kCuda)
    return cuda_grad_workspace(local_shape(in[0], mesh), local_shape(in[1], mesh), seq, head_dim);
  return tile_bytes(seq, head_dim, target.threads);
}

}  // namespace trine
