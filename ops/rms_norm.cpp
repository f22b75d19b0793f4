#include "ops/rms_norm.h"

#include <array>

#include "graph/builder.h"
#include "ops/elementwise.h"

namespace trine {

Types RmsNorm::infer(TypeSpan in) const {
  require(in[0].shape.num_dims() == 2 && in[1].shape == Shape{in[0].shape[1]} && in[0].dtype == in[1].dtype,
          "x {} needs a weight of its last dim and type, got {}", in[0], in[1]);
  return {{in[0].dtype, in[0].shape}, {DType::kF32, {in[0].shape[0]}}};
}

std::vector<ValueId> RmsNorm::vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const {
  return b.add_many(RmsNormGrad(), {node.inputs[0], node.inputs[1], node.outputs[1], dy[0]});
}

Cost RmsNorm::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const { return streaming_cost(in, out, mesh, 4); }

Types RmsNormGrad::infer(TypeSpan in) const {
  require(in[3].shape == in[0].shape && in[3].dtype == in[0].dtype, "dy {} must be of x's type {}", in[3], in[0]);
  return {{in[0].dtype, in[0].shape}, {DType::kF32, in[1].shape}};
}

Cost RmsNormGrad::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  return streaming_cost(in, out, mesh, 9);
}

int64_t RmsNormGrad::workspace_bytes(TypeSpan in, TypeSpan, const Mesh& mesh, const Target& target) const {
  // dweight is summed over fixed blocks of rows first, so that the result does not depend on the number of threads.
  const bool cuda = target.device == DeviceKind::kCuda;
  const int64_t rows_per_block = cuda ? 1 : 16, max_blocks = cuda ? 512 : 64;
  const Shape x = local_shape(in[0], mesh);
  return std::min(div_up(x[0], rows_per_block), max_blocks) * round_up(x[1], 16) * 4 + 4096;
}

Types AddRmsNorm::infer(TypeSpan in) const {
  const Types sum = Add().infer(in.first(2)), normed = norm.infer(std::array{sum[0], in[2]});
  return {sum[0], normed[0], normed[1]};
}

Cost AddRmsNorm::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  return streaming_cost(in, out, mesh, 5);
}

std::vector<ValueId> AddRmsNorm::decompose(Builder& b, std::span<const ValueId> in) const {
  const ValueId sum = b.add(Add(), {in[0], in[1]});
  const std::vector<ValueId> normed = b.add_many(norm, {sum, in[2]});
  return {sum, normed[0], normed[1]};
}

Types RmsNormGradAdd::infer(TypeSpan in) const {
  const Types gradients = RmsNormGrad().infer(in.first(4)), sum = Add().infer(std::array{gradients[0], in[4]});
  return {gradients[1], sum[0]};
}

Cost RmsNormGradAdd::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  return streaming_cost(in, std::array{out[1], out[0]}, mesh, 10);
}

std::vector<ValueId> RmsNormGradAdd::decompose(Builder& b, std::span<const ValueId> in) const {
  const std::vector<ValueId> gradients = b.add_many(RmsNormGrad(), {in[0], in[1], in[2], in[3]});
  return {gradients[1], b.add(Add(), {gradients[0], in[4]})};
}

int64_t RmsNormGradAdd::workspace_bytes(TypeSpan in, TypeSpan out, const Mesh& mesh, const Target& target) const {
  return RmsNormGrad().workspace_bytes(in, out, mesh, target);
}

}  // namespace trine
