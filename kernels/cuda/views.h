// Operands as the functions of device/ take them.
#pragma once

#include "kernels/cuda/context.h"
#include "kernels/cuda/device/functions.h"

namespace trine::cuda {

inline ConstRows in(const TensorView& view) { return {view.data, view.row_stride}; }
inline Rows out(const TensorView& view) { return {view.data, view.row_stride}; }

}  // namespace trine::cuda
