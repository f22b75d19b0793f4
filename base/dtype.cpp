#include "base/dtype.h"

#include "base/error.h"

namespace trine {

size_t size_bytes(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
      return 2;
    case DType::kI64:
      return 8;
    case DType::kU8:
      return 1;
  }
  TRINE_CHECK(false, "dtype {}", int(dtype));
  return 0;
}

std::string_view name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kBF16:
      return "bf16";
    case DType::kF16:
      return "f16";
    case DType::kI32:
      return "i32";
    case DType::kI64:
      return "i64";
    case DType::kU8:
      return "u8";
  }
  TRINE_CHECK(false, "dtype {}", int(dtype));
  return "";
}

std::optional<DType> parse_dtype(std::string_view text) {
  for (DType d : {DType::kF32, DType::kBF16, DType::kF16, DType::kI32, DType::kI64, DType::kU8})
    if (text == name(d)) return d;
  if (text == "fp16") return DType::kF16;
  if (text == "fp32") return DType::kF32;
  return std::nullopt;
}

}  // namespace trine
