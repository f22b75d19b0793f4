#include "ops/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/cpu/cpu_kernels.h"

namespace trine::cpu {

static_assert(SquaredNorm::kNumBins == kNormBins);
// The largest mantissa, shifted by the most.
static_assert(int64_t{0xffffff} << 3 <= INT64_MAX / SquaredNorm::kMaxBlocks);

void add_optimizer(KernelTable& table, const ContextPtr& c) {
  table.add("squared_norm", [c](const KernelRequest& request) -> Kernel {
    const bool first = dynamic_cast<const SquaredNorm&>(request.op).first;
    return [c, first](const KernelCall& call) {
      int64_t* bins = call.outputs[0].as<int64_t>();
      if (first) std::fill_n(bins, kNormBins, 0);
      c->simd->squared_norm_bins(call.inputs[0].num_elements(), call.inputs[0].as<const float>(), bins,
                                 c->parallel);
    };
  });
  table.add("clip_gradients", [](const KernelRequest& request) -> Kernel {
    const double max_norm = static_cast<double>(dynamic_cast<const ClipGradients&>(request.op).max_norm);
    return [max_norm](const KernelCall& call) {
      const size_t num_bins = call.inputs.size() - 2;
      const double scale = static_cast<double>(*call.inputs[num_bins].as<const float>());
      std::array<int64_t, kNormBins> bins{};
      for (const TensorView& part : call.inputs.first(num_bins))
        for (size_t i = 0; i < bins.size(); ++i) bins[i] += part.as<const int64_t>()[i];
      const double norm = std::sqrt(squared_norm_value(bins.data())) / scale;
      const bool apply = std::isfinite(norm) && std::isfinite(*call.inputs[num_bins + 1].as<const float>());
      const double clip = max_norm > 0 ? std::min(1.0, max_norm / (norm + 1e-6)) : 1.0;
      *call.outputs[0].as<float>() = static_cast<float>(norm);
      *call.outputs[1].as<float>() = apply ? static_cast<float>(clip / scale) : 0.0f;
      *call.outputs[2].as<int32_t>() = apply;
      *call.outputs[3].as<int32_t>() += apply;
    };
  });
  table.add("adamw", [c](const KernelRequest& request) -> Kernel {
    const auto& op = dynamic_cast<const trine::AdamW&>(request.op);
    AdamWStep parameters{.lr = 0,
                         .beta1 = op.beta1,
                         .beta2 = op.beta2,
                         .eps = op.eps,
                         .weight_decay = op.weight_decay,
                         .bias_correction1 = 1,
                         .bias_correction2 = 1,
                         .grad_scale = 1};
    return [c, parameters](const KernelCall& call) {
      if (*call.inputs[3].as<const int32_t>() == 0) return;
      AdamWStep p = parameters;
      const double step = *call.inputs[4].as<const int32_t>();
      p.lr = *call.inputs[1].as<const float>();
      p.grad_scale = *call.inputs[2].as<const float>();
      p.bias_correction1 = static_cast<float>(1 - std::pow(static_cast<double>(p.beta1), step));
      p.bias_correction2 = static_cast<float>(1 - std::pow(static_cast<double>(p.beta2), step));
      const TensorView& weights = call.outputs[3];
      c->simd->adamw(weights.dtype, weights.num_elements(), p, call.outputs[0].as<float>(),
                     call.outputs[1].as<float>(), call.outputs[2].as<float>(), call.inputs[0].as<const float>(),
                     weights.data, c->parallel);
    };
  });
}

}  // namespace trine::cpu
