#include "ops/take_row.h"

#include <cstring>

#include "base/error.h"
#include "kernels/cpu/cpu_kernels.h"

namespace trine::cpu {

void add_take_row(KernelTable& table, const ContextPtr&) {
  table.add("take_row", [](const KernelRequest&) -> Kernel {
    return [](const KernelCall& call) {
      const TensorView &x = call.inputs[0], &y = call.outputs[0];
      const int64_t row = *call.inputs[1].as<const int32_t>(), item = static_cast<int64_t>(size_bytes(x.dtype));
      TRINE_CHECK(row >= 0 && row < x.rows, "row {} of {}", row, x.rows);
      std::memcpy(y.data, x.data + row * x.row_stride * item, static_cast<size_t>(y.columns * item));
    };
  });
}

}  // namespace trine::cpu
