// Matrices that lie side by side in memory, and so are one: a merged product over them is one product.
#pragma once

#include <span>

#include "kernels/kernel.h"

namespace trine {

inline bool columns_adjacent(std::span<const TensorView> views) {  // one after the other within each row
  for (size_t i = 1; i < views.size(); ++i) {
    const TensorView& left = views[i - 1];
    const auto bytes = left.columns * static_cast<int64_t>(size_bytes(left.dtype));
    if (views[i].data != left.data + bytes || views[i].row_stride != left.row_stride) return false;
  }
  return true;
}

inline bool rows_adjacent(std::span<const TensorView> views) {  // one below the other
  for (size_t i = 1; i < views.size(); ++i) {
    const TensorView& upper = views[i - 1];
    const auto bytes = upper.rows * upper.row_stride * static_cast<int64_t>(size_bytes(upper.dtype));
    if (views[i].data != upper.data + bytes || views[i].columns != upper.columns) return false;
  }
  return true;
}

inline TensorView beside(std::span<const TensorView> views) {
  TensorView all = views[0];
  for (const TensorView& view : views.subspan(1)) all.columns += view.columns;
  return all;
}

inline TensorView below(std::span<const TensorView> views) {
  TensorView all = views[0];
  for (const TensorView& view : views.subspan(1)) all.rows += view.rows;
  return all;
}

}  // namespace trine
