#include "ops/batch.h"

#include "kernels/cuda/views.h"

namespace trine::cuda {
namespace {

size_t bytes_of(const TensorView& view) {
  return static_cast<size_t>(view.num_elements()) * size_bytes(view.dtype);
}

// REQUIRES: the host's tokens stay in place until the stream has come by.
void copy_tokens(cudaStream_t stream, std::span<const int32_t> from, const TensorView& to) {
  TRINE_CHECK(static_cast<int64_t>(from.size()) == to.num_elements(), "the host gives {} tokens, the step takes {}",
              from.size(), to.num_elements());
  TRINE_CUDA(cudaMemcpyAsync(to.data, from.data(), from.size_bytes(), cudaMemcpyHostToDevice, stream));
}

}  // namespace

void add_batch(KernelTable& table, const ContextPtr& c) {
  table.add("load_batch", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      copy_tokens(c->compute(), call.host->ids, call.outputs[0]);
      copy_tokens(c->compute(), call.host->labels, call.outputs[1]);
    };
  });
  table.add("load_scalars", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      set_scalars(c->compute(), call.outputs[0].as<float>(), call.host->lr, call.outputs[1].as<float>(),
                  call.host->loss_scale);
    };
  });
  table.add("clear", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      TRINE_CUDA(cudaMemsetAsync(call.outputs[0].data, 0, bytes_of(call.outputs[0]), c->compute()));
    };
  });
  table.add("take_microbatch", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      const TensorView& to = call.outputs[0];
      const int32_t* from = call.inputs[0].as<const int32_t>() + call.microbatch * to.num_elements();
      TRINE_CUDA(cudaMemcpyAsync(to.data, from, bytes_of(to), cudaMemcpyDeviceToDevice, c->compute()));
    };
  });
  table.add("count_valid", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      count_valid(c->compute(), call.inputs[0].num_elements(), call.inputs[0].as<const int32_t>(),
                  call.outputs[0].as<int64_t>());
    };
  });
  table.add("loss_seed", [c](const KernelRequest&) -> Kernel {
    return [c](const KernelCall& call) {
      loss_seed(c->compute(), call.inputs[0].as<const float>(), call.inputs[1].as<const int64_t>(),
                call.outputs[0].as<float>());
    };
  });
}

}  // namespace trine::cuda
