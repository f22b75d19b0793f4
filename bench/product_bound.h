// The least time that a step's matrix products take with oneDNN: every operand in the layout that the library likes
// best, and in f32 where that is faster, weights packed for nothing, no operand fetched from elsewhere. What a step
// spends beyond it (and attention) is ours to lower.
#pragma once

#include <map>
#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>
#include <tuple>

#include "bench/peaks.h"
#include "graph/graph.h"

namespace trine::bench {

// C [m, n] = A [m, k] * B [k, n]; `sums`: C is f32 and added to, as a weight's gradient.
struct ProductShape {
  int64_t m = 0, n = 0, k = 0;
  bool sums = false;
  auto operator<=>(const ProductShape&) const = default;
};

inline std::optional<ProductShape> product_shape(const Graph& graph, const Node& node) {
  const std::string_view op = node.op->name();
  const auto rows = [&](ValueId value) { return graph[value].type.shape.num_rows(); };
  const auto columns = [&](ValueId value) { return graph[value].type.shape.num_columns(); };
  int64_t sum = 0;
  if (op == "linear") {
    for (const ValueId y : node.outputs) sum += columns(y);
    return ProductShape{rows(node.inputs[0]), sum, columns(node.inputs[0])};
  }
  if (op == "linear_dx") {
    for (size_t i = 0; i < node.inputs.size() / 2; ++i) sum += columns(node.inputs[i]);
    return ProductShape{rows(node.outputs[0]), columns(node.outputs[0]), sum};
  }
  if (op == "linear_dw") {
    for (size_t i = 1; i < node.inputs.size(); ++i) sum += columns(node.inputs[i]);
    return ProductShape{sum, columns(node.inputs[0]), rows(node.inputs[0]), true};
  }
  return std::nullopt;
}

// Median seconds of one product alone.
inline double time_product(const ProductShape& shape, DType dtype) {
  using dnnl::memory;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const auto type = dtype == DType::kBF16 ? memory::data_type::bf16 : memory::data_type::f32;
  const auto any = memory::format_tag::any;
  const auto c_type = shape.sums ? memory::data_type::f32 : type;
  dnnl::primitive_attr attributes;
  if (shape.sums) {
    dnnl::post_ops sum;
    sum.append_sum();
    attributes.set_post_ops(sum);
  }
  const dnnl::matmul::desc problem({{shape.m, shape.k}, type, any}, {{shape.k, shape.n}, type, any},
                                   {{shape.m, shape.n}, c_type, memory::format_tag::ab});
  const dnnl::matmul::primitive_desc chosen(problem, attributes, engine);
  const auto operand = [&](const memory::desc& desc) {
    memory m(desc, engine);
    std::fill_n(static_cast<std::byte*>(m.get_data_handle()), desc.get_size(), std::byte{0x3c});  // 0.0115
    return m;
  };
  const memory a = operand(chosen.src_desc()), b = operand(chosen.weights_desc()), c = operand(chosen.dst_desc());
  const dnnl::matmul product(chosen);
  std::vector<double> seconds;
  for (int i = 0; i < 8; ++i) {
    const int64_t begin = now_ns();
    product.execute(stream, {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}});
    stream.wait();
    if (i > 0) seconds.push_back(seconds_since(begin));
  }
  return median(seconds);
}

// Seconds that the products of one step take alone.
inline double product_bound(const Graph& graph, DType dtype, int microbatches, int threads) {
  omp_set_num_threads(threads);
  std::map<ProductShape, int> counts;
  for (const Node& node : graph.nodes())
    if (const auto shape = product_shape(graph, node)) counts[*shape] += microbatches;
  double seconds = 0;
  for (const auto& [shape, count] : counts)
    seconds += count * std::min(time_product(shape, dtype), time_product(shape, DType::kF32));
  return seconds;
}

}  // namespace trine::bench
