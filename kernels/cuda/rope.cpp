#include "ops/rope.h"

#include <cmath>

#include "kernels/cuda/views.h"

namespace trine::cuda {
namespace {

DeviceBuffer to_device(cudaStream_t stream, const std::vector<float>& values) {
  const size_t bytes = values.size() * sizeof(float);
  DeviceBuffer buffer(static_cast<int64_t>(bytes));
  TRINE_CUDA(cudaMemcpyAsync(buffer.data(), values.data(), bytes, cudaMemcpyHostToDevice, stream));
  TRINE_CUDA(cudaStreamSynchronize(stream));
  return buffer;
}

// In f64, as the CPU backend computes them. Made once for all layers, while the plan's kernels are prepared.
std::shared_ptr<const RopeAngles> angles_for(CudaContext& context, const std::vector<double>& frequencies,
                                             int64_t seq) {
  std::shared_ptr<const RopeAngles>& entry = context.rope_angles[{frequencies, seq}];
  if (entry) return entry;
  std::vector<float> cos, sin;
  for (int64_t position = 0; position < seq; ++position) {
    for (double frequency : frequencies) {
      const double angle = static_cast<double>(position) * frequency;
      cos.push_back(static_cast<float>(std::cos(angle)));
      sin.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  return entry = std::make_shared<RopeAngles>(
             RopeAngles{to_device(context.compute(), cos), to_device(context.compute(), sin)});
}

const float* floats(const DeviceBuffer& buffer) { return reinterpret_cast<const float*>(buffer.data()); }

}  // namespace

void add_rope(KernelTable& table, const ContextPtr& c) {
  const auto factory = [c](const KernelRequest& request) -> Kernel {
    const auto& op = dynamic_cast<const Rope&>(request.op);
    TRINE_CHECK(request.inputs[0].rows <= UINT32_MAX, "{} tokens in one microbatch", request.inputs[0].rows);
    return [c, angles = angles_for(*c, *op.inverse_frequencies, op.seq), seq = op.seq, head_dim = op.head_dim,
            inverse = op.inverse](const KernelCall& call) {
      const TensorView& x = call.inputs[0];
      rope(c->compute(), x.dtype, x.rows, x.columns / head_dim, head_dim, seq, in(x), floats(angles->cos),
           floats(angles->sin), inverse, nullptr, seq, out(call.outputs[0]));
    };
  };
  table.add("rope", factory);
  table.add("rope_grad", factory);
  table.add("rope_at", [c](const KernelRequest& request) -> Kernel {
    const auto& op = dynamic_cast<const RopeAt&>(request.op);
    return [c, angles = angles_for(*c, *op.inverse_frequencies, op.max_seq), max_seq = op.max_seq,
            head_dim = op.head_dim](const KernelCall& call) {
      const TensorView& x = call.inputs[0];
      rope(c->compute(), x.dtype, x.rows, x.columns / head_dim, head_dim, x.rows, in(x), floats(angles->cos),
           floats(angles->sin), false, call.inputs[1].as<const int32_t>(), max_seq, out(call.outputs[0]));
    };
  });
}

}  // namespace trine::cuda
