#include "ops/rms_norm.h"

#include "graph/builder.h"

namespace trine {

Types RmsNorm::infer(TypeSpan in) const {
  require(in[0].shape.num_dims() == 2 && in[1].shape == Shape{in[0].shape[1]} && in[0].dtype == in[1].dtype,
          "x {} needs a weight of its last dim and type, got {}", to_string(in[0]), to_string(in[1]));
  return {{in[0].dtype, in[0].shape}, {DType::kF32, {in[0].shape[0]}}};
}

std::vector<ValueId> RmsNorm::vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const {
  return b.add_many(RmsNormGrad(), {node.inputs[0], node.inputs[1], node.outputs[1], dy[0]});
}

Cost RmsNorm::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const { return streaming_cost(in, out, mesh, 4); }

Types RmsNormGrad::infer(TypeSpan in) const {
  require(in[3].shape == in[0].shape && in[3].dtype == in[0].dtype, "dy {} must be of x's type {}",
          to_string(in[3]), to_string(in[0]));
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

}  // namespace trine
