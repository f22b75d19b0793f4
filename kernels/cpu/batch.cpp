#include "ops/batch.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "kernels/cpu/cpu_kernels.h"

namespace trine::cpu {

void add_batch(KernelTable& table, const ContextPtr&) {
  table.add("load_batch", [](const KernelRequest&) -> Kernel {
    return [](const KernelCall& call) {
      const auto copy = [](std::span<const int32_t> from, const TensorView& to) {
        TRINE_CHECK(static_cast<int64_t>(from.size()) == to.num_elements(),
                    "the host gives {} tokens, the step takes {}", from.size(), to.num_elements());
        std::copy(from.begin(), from.end(), to.as<int32_t>());
      };
      copy(call.host->ids, call.outputs[0]);
      copy(call.host->labels, call.outputs[1]);
    };
  });
  table.add("load_scalars", [](const KernelRequest&) -> Kernel {
    return [](const KernelCall& call) {
      *call.outputs[0].as<float>() = call.host->lr;
      *call.outputs[1].as<float>() = call.host->loss_scale;
    };
  });
  table.add("clear", [](const KernelRequest&) -> Kernel {
    return [](const KernelCall& call) {
      const TensorView& to = call.outputs[0];
      std::memset(to.data, 0, static_cast<size_t>(to.num_elements()) * size_bytes(to.dtype));
    };
  });
  table.add("take_microbatch", [](const KernelRequest&) -> Kernel {
    return [](const KernelCall& call) {
      const TensorView& to = call.outputs[0];
      const int32_t* from = call.inputs[0].as<const int32_t>() + call.microbatch * to.num_elements();
      std::copy(from, from + to.num_elements(), to.as<int32_t>());
    };
  });
  table.add("count_valid", [](const KernelRequest&) -> Kernel {
    return [](const KernelCall& call) {
      const int32_t* labels = call.inputs[0].as<const int32_t>();
      const int64_t n = call.inputs[0].num_elements();
      *call.outputs[0].as<int64_t>() = std::count_if(labels, labels + n, [](int32_t label) { return label >= 0; });
    };
  });
  table.add("loss_seed", [](const KernelRequest&) -> Kernel {
    return [](const KernelCall& call) {
      const double scale = static_cast<double>(*call.inputs[0].as<const float>());
      *call.outputs[0].as<float>() =
          static_cast<float>(scale / static_cast<double>(*call.inputs[1].as<const int64_t>()));
    };
  });
}

}  // namespace trine::cpu
