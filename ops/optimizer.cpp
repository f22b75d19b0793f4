#include "ops/optimizer.h"

namespace trine {

Types SquaredNorm::infer(TypeSpan in) const {
  require(in[0].dtype == DType::kF32 && in[0].shape.num_dims() == 1, "the bucket must be f32[E], got {}", in[0]);
  require(in[0].shape.num_elements() / kBlock < kMaxBlocks, "the bucket {} is more than {} blocks of {} elements",
          in[0], kMaxBlocks, kBlock);
  return {{DType::kI64, {kNumBins}}};
}

Cost SquaredNorm::cost(TypeSpan in, TypeSpan, const Mesh& mesh) const {
  return {.flops = 2.0 * static_cast<double>(local_shape(in[0], mesh).num_elements()),
          .bytes_read = local_bytes(in[0], mesh)};
}

// A bucket that is split gives each rank a part of the sum; one that is invariant gives all the same sum.
std::variant<std::vector<Placement>, std::string> SquaredNorm::place(const IndexMap&, std::span<const Placement> in,
                                                                     Axis, const Mesh&) const {
  if (in[0].is(PlacementKind::kPartial)) return std::string("the norm of a gradient that is not reduced yet");
  return std::vector{in[0].is(PlacementKind::kSplit) ? Placement::partial() : in[0]};
}

std::string ClipGradients::index_map() const {
  std::string bins;
  for (int i = 0; i < num_bins; ++i) bins += fmt::format("~bins{}[b] ", i);
  return bins + "~loss_scale[one] ~loss_sum[one] -> grad_norm[one] factor[one] apply[one] adam_step[one]";
}

Types ClipGradients::infer(TypeSpan in) const {
  for (const TensorType& bins : in.first(static_cast<size_t>(num_bins)))
    require(bins.dtype == DType::kI64 && bins.shape == Shape{SquaredNorm::kNumBins}, "bins must be i64[{}], got {}",
            SquaredNorm::kNumBins, bins);
  return {{DType::kF32, {1}}, {DType::kF32, {1}}, {DType::kI32, {1}}, {DType::kI32, {1}}};
}

Types AdamW::infer(TypeSpan in) const {
  require(in[0].dtype == DType::kF32 && in[0].shape.num_dims() == 1, "the bucket must be f32[E], got {}", in[0]);
  const TensorType flat{DType::kF32, in[0].shape};
  return {flat, flat, flat, {compute_dtype, in[0].shape}};
}

Cost AdamW::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  const int64_t elements = local_shape(in[0], mesh).num_elements();
  const int64_t compute = static_cast<int64_t>(size_bytes(out[3].dtype));
  return {.flops = 15.0 * static_cast<double>(elements),
          .bytes_read = 16 * elements,
          .bytes_written = (12 + compute) * elements};
}

void AdamW::describe(Attributes& a) const {
  a("beta1", beta1);
  a("beta2", beta2);
  a("eps", eps);
  a("weight_decay", weight_decay);
}

}  // namespace trine
