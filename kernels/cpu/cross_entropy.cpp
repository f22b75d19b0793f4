#include "ops/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/cpu_kernels.h"

namespace trine::cpu {
namespace {

// Where this rank's columns of the vocabulary begin.
int64_t first_column(const KernelRequest& request) {
  if (request.mesh.tp == 1) return 0;
  return split_begin(request.input_types[0].shape[1], request.mesh.tp, request.coordinate.tp);
}

// The label's probability row combined over the parts of the vocabulary, in rank order.
struct Combined {
  float max, sum, target;
};
Combined combine(const float* stats, int64_t parts, int64_t tokens, int64_t n) {
  const auto row = [&](int64_t part) { return stats + (part * tokens + n) * 3; };
  Combined c{row(0)[0], 0, 0};
  for (int64_t part = 1; part < parts; ++part) c.max = std::max(c.max, row(part)[0]);
  for (int64_t part = 0; part < parts; ++part) {
    c.sum += row(part)[1] * std::exp(row(part)[0] - c.max);
    c.target += row(part)[2];
  }
  return c;
}

}  // namespace

void add_cross_entropy(KernelTable& table, const ContextPtr& c) {
  table.add("vocab_stats", [c](const KernelRequest& request) -> Kernel {
    return [c, first = first_column(request)](const KernelCall& call) {
      const TensorView& logits = call.inputs[0];
      c->simd->vocab_stats(logits.dtype, logits.rows, logits.columns, in(logits),
                           call.inputs[1].as<const int32_t>(), first, call.outputs[0].as<float>(), c->parallel);
    };
  });
  table.add("vocab_stats_grad", [c](const KernelRequest& request) -> Kernel {
    return [c, first = first_column(request)](const KernelCall& call) {
      const TensorView& logits = call.inputs[0];
      c->simd->vocab_stats_grad(logits.dtype, logits.rows, logits.columns, in(logits),
                                call.inputs[2].as<const float>(), call.inputs[3].as<const float>(),
                                call.inputs[1].as<const int32_t>(), first, out(call.outputs[0]), c->parallel);
    };
  });
  table.add("cross_entropy", [](const KernelRequest&) -> Kernel {
    return [](const KernelCall& call) {
      const int64_t tokens = call.inputs[1].num_elements(), parts = call.inputs[0].rows / tokens;
      const int32_t* labels = call.inputs[1].as<const int32_t>();
      double loss = 0;
      for (int64_t n = 0; n < tokens; ++n) {
        if (labels[n] < 0) continue;
        const Combined row = combine(call.inputs[0].as<const float>(), parts, tokens, n);
        loss +=
            static_cast<double>(row.max) + std::log(static_cast<double>(row.sum)) - static_cast<double>(row.target);
      }
      *call.outputs[0].as<float>() = static_cast<float>(loss);
    };
  });
  table.add("cross_entropy_grad", [](const KernelRequest&) -> Kernel {
    return [](const KernelCall& call) {
      const int64_t tokens = call.inputs[1].num_elements(), parts = call.inputs[0].rows / tokens;
      const float *stats = call.inputs[0].as<const float>(), seed = *call.inputs[2].as<const float>();
      const int32_t* labels = call.inputs[1].as<const int32_t>();
      for (int64_t n = 0; n < tokens; ++n) {
        const Combined row = combine(stats, parts, tokens, n);
        for (int64_t part = 0; part < parts; ++part) {
          float* d = call.outputs[0].as<float>() + (part * tokens + n) * 3;
          const bool counts = labels[n] >= 0;
          d[0] = 0;  // the max is a constant
          d[1] = counts ? seed * std::exp(stats[(part * tokens + n) * 3] - row.max) / row.sum : 0;
          d[2] = counts ? -seed : 0;
        }
      }
    };
  });
}

}  // namespace trine::cpu
