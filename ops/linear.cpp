#include "ops/linear.h"

#include <algorithm>

#include "graph/builder.h"

namespace trine {
namespace {

// "w0[m,k] w1[m,k]": the output features share one index, because a placement splits all of them or none.
std::string repeat(int count, const std::string& prefix, const std::string& indices,
                   const std::string& separator = " ") {
  std::string text;
  for (int i = 0; i < count; ++i) text += (i == 0 ? "" : separator) + prefix + std::to_string(i) + indices;
  return text;
}

double product_flops(const Shape& a, const Shape& b) {  // [N, K] x [M, K]
  return 2.0 * static_cast<double>(a.num_elements()) * static_cast<double>(b[0]);
}

Cost product_cost(TypeSpan in, TypeSpan out, const Mesh& mesh, double flops) {
  Cost cost = streaming_cost(in, out, mesh, 0);
  cost.flops = flops;
  return cost;
}

// A bound for every CPU; a run keeps what its kernels use of it (runtime/step/fit_workspace.h). The library copies
// blocks of its operands into its own layout, a few for each thread (oneDNN: up to 1.7 MiB per thread for LLaMA models
// from 1 M to 8 B parameters), but no more than there is. Products that go block by block through f32 copies take a
// block of each operand besides, of at most 4 MiB.
int64_t cpu_workspace(TypeSpan in, TypeSpan out, const Mesh& mesh, int threads) {
  constexpr int64_t kLibrary = int64_t{2} << 20, kBlock = int64_t{4} << 20;
  int64_t copies = 0, blocks = 0;
  for (const TypeSpan types : {in, out})
    for (const TensorType& type : types) {
      const int64_t copy = round_up(local_shape(type, mesh).num_elements() * 4, 64);
      copies += copy;
      blocks += std::min(copy, kBlock);
    }
  return std::min(copies, kLibrary * threads) + std::min(blocks, 3 * kBlock);
}

// What cuBLASLt's fastest products on Hopper ask for. Products that are added up in f32 before they are rounded
// take as much again, for blocks of rows.
constexpr int64_t kCudaWorkspace = int64_t{32} << 20;

int64_t product_workspace(TypeSpan in, TypeSpan out, const Mesh& mesh, const Target& target) {
  return target.device == DeviceKind::kCuda ? 2 * kCudaWorkspace : cpu_workspace(in, out, mesh, target.threads);
}

}  // namespace

std::string Linear::index_map() const {
  return "x[n,k] " + repeat(num_weights, "w", "[m,k]") + " -> " + repeat(num_weights, "y", "[n,m]") + " : x, " +
         repeat(num_weights, "w", "", "+");
}

Types Linear::infer(TypeSpan in) const {
  require(in[0].shape.num_dims() == 2, "x must be [N,K], got {}", in[0]);
  Types out;
  for (const TensorType& w : in.subspan(1)) {
    require(w.shape.num_dims() == 2 && w.shape[1] == in[0].shape[1] && w.dtype == in[0].dtype,
            "x {} times W^T {}: the last dims and types must be equal", in[0], w);
    out.push_back({in[0].dtype, {in[0].shape[0], w.shape[0]}});
  }
  return out;
}

std::vector<ValueId> Linear::vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const {
  const std::span<const ValueId> weights = std::span(node.inputs).subspan(1);
  std::vector<StateId> sinks;
  for (size_t i = 0; i < weights.size(); ++i) {
    require(dy[i].valid(), "output {} of a merged product has no gradient", i);
    sinks.push_back(b.accumulator(weights[i]));
    require(sinks.back().valid(), "weight {} must be a parameter", i);
  }
  std::vector<ValueId> dx_inputs(dy.begin(), dy.end()), dw_inputs = {node.inputs[0]};
  dx_inputs.insert(dx_inputs.end(), weights.begin(), weights.end());
  dw_inputs.insert(dw_inputs.end(), dy.begin(), dy.end());
  std::vector<ValueId> gradients(node.inputs.size());
  gradients[0] = b.add(LinearGradInput(num_weights), dx_inputs);  // first: others wait for it
  b.write(LinearGradWeight(num_weights), dw_inputs, sinks);
  return gradients;
}

Cost Linear::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  double flops = 0;
  for (const TensorType& w : in.subspan(1)) flops += product_flops(local_shape(in[0], mesh), local_shape(w, mesh));
  return product_cost(in, out, mesh, flops);
}

int64_t Linear::workspace_bytes(TypeSpan in, TypeSpan out, const Mesh& mesh, const Target& target) const {
  return product_workspace(in, out, mesh, target);
}

std::string LinearGradInput::index_map() const {
  return repeat(num_weights, "dy", "[n,m]") + " " + repeat(num_weights, "w", "[m,k]") +
         " -> dx[n,k] : " + repeat(num_weights, "dy", "", "+");
}

Types LinearGradInput::infer(TypeSpan in) const {
  const size_t count = static_cast<size_t>(num_weights);
  for (size_t i = 0; i < count; ++i)
    require(in[i].shape[1] == in[count + i].shape[0] && in[i].dtype == in[count + i].dtype,
            "dy {} times W {}: the summed dims and types must be equal", in[i], in[count + i]);
  return {{in[0].dtype, {in[0].shape[0], in[count].shape[1]}}};
}

Cost LinearGradInput::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  double flops = 0;
  for (size_t i = 0; i < static_cast<size_t>(num_weights); ++i) {
    const Shape w = local_shape(in[static_cast<size_t>(num_weights) + i], mesh);
    flops += 2.0 * static_cast<double>(local_shape(in[i], mesh).num_elements()) * static_cast<double>(w[1]);
  }
  return product_cost(in, out, mesh, flops);
}

int64_t LinearGradInput::workspace_bytes(TypeSpan in, TypeSpan out, const Mesh& mesh, const Target& target) const {
  return product_workspace(in, out, mesh, target);
}

std::string LinearGradWeight::index_map() const {
  return "x[n,k] " + repeat(num_weights, "dy", "[n,m]") + " -> " + repeat(num_weights, "dw", "[m,k]") + " : x, " +
         repeat(num_weights, "dy", "", "+");
}

Types LinearGradWeight::infer(TypeSpan in) const {
  Types out;
  for (const TensorType& dy : in.subspan(1)) {
    require(dy.shape[0] == in[0].shape[0] && dy.dtype == in[0].dtype, "x {} and dy {} must have as many rows",
            in[0], dy);
    out.push_back({DType::kF32, {dy.shape[1], in[0].shape[1]}});
  }
  return out;
}

Cost LinearGradWeight::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  double flops = 0;
  for (const TensorType& dy : in.subspan(1))
    flops += 2.0 * static_cast<double>(local_shape(dy, mesh).num_elements()) *
             static_cast<double>(local_shape(in[0], mesh)[1]);
  Cost cost = product_cost(in, out, mesh, flops);
  cost.bytes_read += cost.bytes_written;  // accumulates
  return cost;
}

int64_t LinearGradWeight::workspace_bytes(TypeSpan in, TypeSpan out, const Mesh& mesh, const Target& target) const {
  return product_workspace(in, out, mesh, target);
}

}  // namespace trine
