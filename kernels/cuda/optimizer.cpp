#include "ops/optimizer.h"

#include <limits>

#include "kernels/cuda/index.h"
#include "kernels/cuda/views.h"

namespace trine::cuda {

static_assert(SquaredNorm::kNumBins == kNumBins && SquaredNorm::kBlock == kNormBlock);
static_assert(bin_term(std::numeric_limits<float>::max()).value <= INT64_MAX / SquaredNorm::kMaxBlocks);

void add_optimizer(KernelTable& table, const ContextPtr& c) {
  table.add("squared_norm", [c](const KernelRequest& request) -> Kernel {
    const bool first = dynamic_cast<const SquaredNorm&>(request.op).first;
    return [c, first](const KernelCall& call) {
      int64_t* bins = call.outputs[0].as<int64_t>();
      if (first) TRINE_CUDA(cudaMemsetAsync(bins, 0, kNumBins * sizeof(int64_t), c->compute()));
      squared_norm_bins(c->compute(), call.inputs[0].num_elements(), call.inputs[0].as<const float>(), bins);
    };
  });
  table.add("clip_gradients", [c](const KernelRequest& request) -> Kernel {
    const double max_norm = static_cast<double>(dynamic_cast<const ClipGradients&>(request.op).max_norm);
    TRINE_CHECK(request.inputs.size() - 2 <= kMaxBinSets, "{} sets of bins", request.inputs.size() - 2);
    return [c, max_norm](const KernelCall& call) {
      const size_t num_bins = call.inputs.size() - 2;
      std::vector<const int64_t*> bins;
      for (const TensorView& part : call.inputs.first(num_bins)) bins.push_back(part.as<const int64_t>());
      clip_gradients(c->compute(), bins, max_norm, call.inputs[num_bins].as<const float>(),
                     call.inputs[num_bins + 1].as<const float>(), call.outputs[0].as<float>(),
                     call.outputs[1].as<float>(), call.outputs[2].as<int32_t>(), call.outputs[3].as<int32_t>());
    };
  });
  table.add("adamw", [c](const KernelRequest& request) -> Kernel {
    const auto& op = dynamic_cast<const trine::AdamW&>(request.op);
    const AdamWParameters parameters{op.beta1, op.beta2, op.eps, op.weight_decay};
    return [c, parameters](const KernelCall& call) {
      const auto& i = call.inputs;   // grad, lr, factor, apply, adam_step
      const auto& o = call.outputs;  // master, momentum, variance, weights
      adamw(c->compute(), o[3].dtype, o[3].num_elements(), parameters, i[1].as<const float>(),
            i[2].as<const float>(), i[3].as<const int32_t>(), i[4].as<const int32_t>(), i[0].as<const float>(),
            o[0].as<float>(), o[1].as<float>(), o[2].as<float>(), o[3].data);
    };
  });
}

}  // namespace trine::cuda
