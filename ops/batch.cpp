#include "ops/batch.h"

namespace trine {

using PlacementsOrReason = std::variant<std::vector<Placement>, std::string>;

Types LoadBatch::infer(TypeSpan) const {
  const TensorType tokens{DType::kI32, {num_tokens}};
  return {tokens, tokens};
}

PlacementsOrReason LoadBatch::place(const IndexMap&, std::span<const Placement>, Axis axis, const Mesh&) const {
  const bool split = axis == Axis::kDp && batch_split;
  return std::vector<Placement>(2, split ? Placement::batch_split() : Placement::invariant());
}

Types TakeMicrobatch::infer(TypeSpan in) const {
  require(in[0].shape.num_dims() == 1 && in[0].shape[0] % num_tokens == 0,
          "the batch {} must be microbatches of {} tokens", in[0], num_tokens);
  return {{in[0].dtype, {num_tokens}}};
}

Cost TakeMicrobatch::cost(TypeSpan, TypeSpan out, const Mesh& mesh) const {
  return {.flops = 0, .bytes_read = local_bytes(out[0], mesh), .bytes_written = local_bytes(out[0], mesh)};
}

Types LossSeed::infer(TypeSpan in) const {
  require(in[0].dtype == DType::kF32 && in[1].dtype == DType::kI64,
          "loss_scale must be f32 and count i64, got {}, {}", in[0], in[1]);
  return {{DType::kF32, {1}}};
}

PlacementsOrReason LossSeed::place(const IndexMap&, std::span<const Placement> in, Axis axis,
                                   const Mesh& mesh) const {
  for (const Placement& placement : in)
    if (placement.is(PlacementKind::kPartial)) return std::string("the tokens of all ranks must be counted first");
  const bool replicated = axis == Axis::kDp && mesh[axis] > 1;
  return std::vector{replicated ? Placement::replicated() : Placement::invariant()};
}

}  // namespace trine
