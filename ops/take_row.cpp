#include "ops/take_row.h"

namespace trine {

Types TakeRow::infer(TypeSpan in) const {
  require(in[0].shape.num_dims() == 2, "x must be [N,D], got {}", in[0]);
  require(in[1].dtype == DType::kI32 && in[1].shape == Shape{1}, "the row must be i32[1], got {}", in[1]);
  return {{in[0].dtype, {1, in[0].shape[1]}}};
}

Cost TakeRow::cost(TypeSpan, TypeSpan out, const Mesh& mesh) const {
  return {.flops = 0, .bytes_read = local_bytes(out[0], mesh), .bytes_written = local_bytes(out[0], mesh)};
}

}  // namespace trine
